"""Run by the Python of an environment that has TorchRL: what holds there. Says its version at the end."""

import torch
import torchrl
from torchrl.envs import Compose, InitTracker, TransformedEnv
from torchrl.envs.utils import check_env_specs
from torchrl.modules import set_recurrent_mode
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import gnncomm
from gnncomm import environments
from gnncomm.errors import ConfigError
from gnncomm.integrations.torchrl import CommEnv, CommModule, actor, critic
from gnncomm.integrations.torchrl.moment import MomentKeys
from gnncomm.layers import MeanComm
from gnncomm.learn.build import build_policy
from gnncomm.learn.returns import gae
from gnncomm.types import Box

B, T = 3, 30
KEYS = {name: ("agents", name) for name in ("reward", "done", "terminated")} | {"value": ("agents", "state_value")}


def rollouts_are_our_own_steps(id, **settings):
    env, ours = CommEnv(id, num_envs=B, **settings), environments.make(id, B, **settings)
    check_env_specs(env, break_when_any_done="both")
    env.set_seed(7)
    data, now = env.rollout(T, break_when_any_done=False), ours.reset(seed=7)
    for t in range(T):
        step = data[:, t]
        assert step["agents", "observation"].equal(now.obs), (id, t)
        assert step["agents", "mask"].equal(now.alive)
        assert step["episode"].squeeze(-1).equal(now.key)
        assert step["step"].squeeze(-1).equal(now.step)
        if now.action_mask is not None:
            allowed = step["agents", "action_mask"]
            assert allowed[now.alive].equal(now.action_mask[now.alive])
            assert allowed.gather(-1, step["agents", "action"].unsqueeze(-1)).all(), "random actions are allowed ones"
        after = ours.step(step["agents", "action"])
        next_ = step["next"]
        assert next_["agents", "reward"].squeeze(-1).equal(after.reward)
        assert next_["agents", "terminated"].squeeze(-1).equal(after.discount == 0)
        for name in ("done", "terminated", "truncated", "success"):
            assert next_[name].squeeze(-1).equal(getattr(after, name)), name
        now = ours.reset(where=after.done) if bool(after.done.any()) else after
    return data


def trains(id, dies=False, shows=False, **changes):
    """Ratio one through memory and wire, advantages as ours, gradients in every weight of communication."""
    torch.manual_seed(0)
    plain = CommEnv(id, num_envs=B, state=shows)
    policy = build_policy(gnncomm.default_config(id, hidden=16, num_envs=B, **changes), plain.vector_env)
    decides, judges = actor(policy, plain), critic(policy, plain)
    state = decides[0].state
    env = TransformedEnv(plain, Compose(InitTracker(), *([decides[0].primer()] if state else [])))
    check_env_specs(env)
    with torch.no_grad():
        data = env.rollout(T, decides, break_when_any_done=False)
        with set_recurrent_mode(True):
            again = decides[0](data.clone())
    alive = data["agents", "mask"]
    assert bool(alive.all()) != dies
    torch.testing.assert_close(again["agents", "logits"][alive], data["agents", "logits"][alive])

    advantage = GAE(gamma=0.9, lmbda=0.8, value_network=None)
    advantage.set_keys(**KEYS)
    with torch.no_grad():
        judges(data), judges(data["next"])
        advantage(data)
    after = data["next", "agents", "state_value"]
    value, reward = data["agents", "state_value"], data["next", "agents", "reward"]
    going = (~data["next", "agents", "terminated"]).to(value.dtype)
    theirs = [x.squeeze(-1).transpose(0, 1) for x in (reward, value, after, going)]
    mine = gae(*theirs, data["next", "agents", "done"].squeeze(-1).transpose(0, 1), 0.9, 0.8).transpose(0, 1)
    torch.testing.assert_close(data["advantage"].squeeze(-1)[alive], mine[alive])

    loss = ClipPPOLoss(decides, judges)
    loss.set_keys(action=("agents", "action"), sample_log_prob=("agents", "action_log_prob"), **KEYS)
    terms = loss(data)
    assert terms["clip_fraction"] == 0
    assert terms["ESS"].sub(1).abs().max() < 1e-4, "ratio one"
    sum(term.sum() for name, term in terms.items() if name.startswith("loss_")).backward()
    for name, weight in policy.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0 or not name.startswith("comm."), name


def refuses(text, make):
    said = ""
    try:
        make()
    except ConfigError as error:
        said = str(error)
    assert text in said, f"expected a refusal: {text}, got {said!r}"


class Points(environments.make("rendezvous", 1).__class__):
    """Actions that are numbers: a step of whole cells along each axis."""

    box = Box(((-1.0, -2.0),) * 3, ((1.0, 2.0),) * 3)

    def __init__(self, **settings):
        super().__init__(**settings)
        self.num_actions = 2

    def step(self, action):
        assert (action[..., 0].abs() <= 1).all()
        assert (action[..., 1].abs() <= 2).all()
        return super().step((action[..., 0] > 0).long())


for name in ("relay", "traffic_junction", "foraging", "battle"):
    played = rollouts_are_our_own_steps(name)
assert not played["agents", "mask"].all(), "somebody fell in battle"

shown = CommEnv("predator_prey", num_envs=2, state=True)
check_env_specs(shown)
assert shown.reset()["state"].equal(shown.vector_env.state())

trains("predator_prey", comm="tarmac")
trains("battle", comm="gatv2", memory="none", dies=True)
trains("predator_prey", comm="attention", topology="radius:r=4", critic="state", shows=True)
wire = {"channel": "delay:steps=1 + loss:p=0.2", "codec": "int4", "integration": "previous"}
trains("traffic_junction", dies=True, comm="mean", **wire)

numbers = CommEnv(Points, num_envs=2, num_agents=3)
check_env_specs(numbers)
team = build_policy(gnncomm.default_config("rendezvous", hidden=8, memory="none"), numbers.vector_env)
drawn = numbers.rollout(3, actor(team, numbers))
assert drawn["agents", "action"].shape == (2, 3, 3, 2)
assert drawn["agents", "action_log_prob"].shape == (2, 3, 3)

layer = MeanComm(1, 1)
with torch.no_grad():
    for weight in layer.parameters():
        weight.fill_(1.0 if weight.dim() > 1 else 0.0)
data = played[:, :1]
data["agents", "hidden"] = torch.arange(float(data["agents", "mask"].numel())).view(*data["agents", "mask"].shape, 1)
told = MomentKeys.among(played.keys(True), "agents")
heard = CommModule(layer, "full", moment=told)(data)["agents", "heard"]
graph = gnncomm.topology.Full()(data["agents", "mask"].flatten(0, 1))
assert heard.flatten(0, 1).equal(layer(data["agents", "hidden"].flatten(0, 1), graph))

refuses(
    "samples who talks",
    lambda: CommModule(
        MeanComm(4, 4), gnncomm.Wire(scheduler=gnncomm.make("scheduler", "gate", in_channels=4)), moment=told
    ),
)
refuses(
    "from step to step",
    lambda: CommModule(MeanComm(4, 4), gnncomm.Wire(channel=gnncomm.make("channel", "delay:steps=1")), moment=told),
)
refuses(
    "'episode' and 'step'",
    lambda: CommModule(MeanComm(4, 4), gnncomm.Wire(channel=gnncomm.make("channel", "loss:p=0.5"))),
)
refuses("of width", lambda: actor(team, shown))

print(torchrl.__version__)
