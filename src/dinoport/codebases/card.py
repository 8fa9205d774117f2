"""What cards say alike, whichever library a folder is for."""

from dinoport.codebases.target import Target


def sizes_lines(target: Target, library: str, processor: str, options: str, *, proven: bool) -> list[str]:
    """For a card: at which input sizes outputs are the original's, and the `options` that make a folder for another.

    `processor` is what the `library` calls the transform that it makes for the folder. That outputs are the original's
    is said only where it was `proven`.
    """
    if target.interpolation is None:
        return []
    if target.rule and target.baked_from:
        sides = f"{target.baked_from} to {target.image_size}"
        return [f"- The position table was resampled once from {sides} pixels by an assumed rule: {target.rule}."]
    size = f"{target.image_size}×{target.image_size} pixels"
    if target.rule:
        return [f"- At other sizes than {size} a rule is assumed: {target.rule}."]
    if target.baked_from:
        others = "At this size outputs are the original's; other sizes" if proven else "Other sizes"
        return [
            f"- The position table was resampled once from {target.baked_from} to {target.image_size} pixels by the "
            f"original's own rule. {others}, {target.baked_from} among them, are resampled a second time."
        ]
    if target.resamples_alike:
        computes = ", and the class computes as the original does" if proven else ""
        return [f"- {library} resamples the position table as the original does at every size{computes}."]
    others = f"The class computes as the original does at {size}. At other sizes"
    if not proven:
        others = f"At other sizes than {size}"
    lines = [
        f"- {others} {library} resamples the position table "
        f"by another rule than the original ({target.interpolation}); `dinoport convert {options}` makes a folder for "
        "one other size."
    ]
    own = target.preprocessing.size if target.preprocessing else target.image_size
    if own != target.image_size and target.channels == 3:
        lines.append(
            f"- The {processor} here makes {own}×{own} pixels, as the original's evaluation does, so this difference "
            f"is there unless the folder is made with `--image-size {own}`."
        )
    return lines
