"""Small datasets in their publishers' exact formats: ``python -m tests.miniatures icvl DATA_ROOT``.

A module per dataset, with ``write(raw) -> the true cubes [B, H, W], upright, by scene``.
"""
