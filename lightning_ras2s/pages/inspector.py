"""The inspector: one page without a network that shows a scene under all its noise cases."""

from lightning_ras2s.pages.template import render
from lightning_ras2s.pages.viewer import ViewedScene, page_that_fits


def inspector_page(title: str, scene: ViewedScene) -> str:
    """Makes the page of a scene, smaller than 25 MB; one that is too big is cropped to its centre.

    Args:
        title: Names the scene.
        scene: What is shown of it.

    Returns:
        HTML that asks for nothing from outside.
    """
    return page_that_fits(
        scene, lambda scene, **viewer: render("inspector.html", title=title, scene=scene, **viewer)
    )
