"""`inspect`: what a source is, and what it would become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dinoport.codebases.transformers.forms import is_known_class
from dinoport.errors import DinoportError, UsageError
from dinoport.finding.listing import parts_of
from dinoport.finding.models import unwrapped
from dinoport.finding.sources import locate
from dinoport.progress import Progress
from dinoport.report.inspection import Inspection, branch_of
from dinoport.request import Request
from dinoport.work.prepare import prepare_opened
from dinoport.work.reporting import planned_report
from dinoport.work.taking import with_commands


def inspect_place(source: str | Path, request: Request, on_progress: Progress, *, heads: bool) -> Inspection:
    """What lies in a source, its plan, or why there is none; `heads` reads them from the weights."""
    planned, refusal = None, None
    located = locate(source, on_progress, look=True, head=request.head)
    with located.open(on_progress) as checkpoint:
        states = unwrapped(checkpoint)
        parts, own, chosen = parts_of(checkpoint), request, {}
        if is_known_class(checkpoint.config or {}):  # which is the default target already
            request = replace(request, to="original")
        try:
            opened = prepare_opened(located, checkpoint, request, on_progress, again=True, weigh_heads=heads)
            with opened as conversion:
                planned = planned_report(conversion)
                if request is own:
                    chosen[conversion.provenance.prefix] = conversion.model.family
        except UsageError:
            raise
        except DinoportError as error:
            refusal = str(error)
        return Inspection(
            where=checkpoint.where,
            format=checkpoint.format,
            size_bytes=checkpoint.size_bytes,
            parts=with_commands(parts, located, checkpoint, own, chosen),
            branches=tuple(branch_of(label, tensors, notes) for label, tensors, notes in states),
            plan=planned,
            refusal=refusal,
        )
