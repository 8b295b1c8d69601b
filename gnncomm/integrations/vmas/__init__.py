"""VMAS tasks as environments: ``gnncomm train vmas:navigation``. Needs the extra ``gnncomm[vmas]`` (GPL-3).

``envs.make("vmas:SCENARIO", ...)`` leads to ``gnncomm.integrations.vmas.env.VmasEnv``.
"""
