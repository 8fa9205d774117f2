"""What to do after a failed proof, in the words of the terminal and of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoport.proofs.verdict import Blamed

if TYPE_CHECKING:
    from dinoport.report.report import Report

CONVERT_AGAIN = "convert the source again, into another folder"


def next_steps(report: Report) -> list[str]:
    """What to do next, the likeliest first; nothing where no proof failed."""
    if not report.verdict.failed:
        return []
    proofs, found = report.proofs, report.proofs.diagnosis
    outputs = proofs.outputs
    steps = []
    if report.verdict.blamed is Blamed.ANOTHER_SOURCE:
        steps.append("this is another file than the one that was converted: give that one")
        steps.append("or convert this one anew, into another folder")
    elif report.verdict.otherwise:
        steps.append("leave these options out, to prove the folder as it was made")
        steps.append(f"or {CONVERT_AGAIN}, with these options")
    elif report.verdict.blamed is Blamed.SOURCE_CHANGED:
        steps.append("the folder is as it was written: fetch the source again, or give the file that was converted")
    elif report.direction == "to onnx":
        steps.append("export the graph again, from this source")
    elif proofs.exact and not proofs.exact.passed:
        steps.append(f"the weights are not those of the source: fetch the folder again, or {CONVERT_AGAIN}")
    elif found and found.cause and found.of_setting:
        steps.append("find out with which of the two values the model was trained: the weights do not say it")
        steps.append(f"if it is the source's, {CONVERT_AGAIN}; if it is the folder's, give it as an option")
    elif found and found.cause:
        steps.append(f"the cause is a known mistake of conversions: {CONVERT_AGAIN}")
    elif outputs and outputs.differs:
        steps.append("the weights are equal, and the two compute differently: the source may be another model")
        if report.direction == "to transformers":
            steps.append("`reference='hub'` compares with the original's own code, where its authors publish it")
    else:
        steps.append(f"put right what is named above, or {CONVERT_AGAIN}")
    steps.append("if both look right, open an issue and attach the report (`report=report.json`)")
    return steps
