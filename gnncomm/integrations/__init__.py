"""Adapters to other libraries. Nothing here is loaded, nor any of those libraries, before it is asked for by name.

``envs.make("pettingzoo:mpe2.simple_spread_v3")`` and ``envs.make("gymnasium:lbforaging:Foraging-8x8-2p-1f-v3")`` lead
to ``gnncomm.integrations.pettingzoo``, ``envs.make("vmas:navigation")`` to ``gnncomm.integrations.vmas``. The other
way: ``gnncomm.integrations.torchrl``, ``benchmarl`` and ``team``.
"""
