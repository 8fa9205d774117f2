"""Tokens of the Hub: one that cannot be sent is refused here, where it can be said why. None is ever shown."""

from dinoport.errors import UsageError


def sound_token(given: str | None) -> str | None:
    """The token that was given, without blanks around it.

    Raises UsageError for one that cannot be sent, and for such a one that huggingface_hub finds.
    """
    from huggingface_hub import get_token

    if given is None:
        _check(get_token(), "HF_TOKEN, or the token of `hf auth login`,")
        return None
    token = given.strip()
    if not token:
        raise UsageError(
            "`token` is empty",
            expected="a token of the Hub",
            cause="a secret that is not set where this runs",
            next_step="set the secret, or leave `token` out, which takes HF_TOKEN or the token of `hf auth login`",
        )
    _check(token, "`token`")
    return token


def _check(token: str | None, which: str) -> None:
    strange = next((each for each in token or "" if not "!" <= each <= "~"), None)
    if strange is None:
        return
    named = {"\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab"}
    raise UsageError(
        f"{which} cannot be a token",
        expected="letters, digits and '_' on one line",
        found=f"{named.get(strange, 'a character that no token has')} in it",
        cause="more than the token was copied, or several lines",
        next_step="copy it again from https://huggingface.co/settings/tokens",
    )
