"""The runs that one caller's messages began, until their answers end.

A message is answered at once with the id of its run; the answer comes in events, perhaps for hours.
Its end is the user's activity. The end of a run that the agent began by itself, such as a job, is
not.
"""

from ocmt_agent.proxy import frames

_MOST = 1000


class Runs:
    def __init__(self) -> None:
        self._requests: set[str] = set()
        self._runs: set[str] = set()

    def sent(self, request: str, text: str) -> None:
        """Note a request of the caller's, if it is a message."""
        if frames.is_message(text) and len(self._requests) + len(self._runs) < _MOST:
            self._requests.add(request)

    def ended_with(self, text: str, *, answers: str | None) -> bool:
        """Whether a gateway's frame ends one of these runs; `answers`: the request it answers."""
        if answers is not None:
            if answers in self._requests:
                self._requests.discard(answers)
                run = frames.run_id(text)
                if run is not None:
                    self._runs.add(run)
            return False
        if not self._runs or not frames.ends_run(text):
            return False
        run = frames.run_id(text)
        known = run in self._runs
        self._runs.discard(run or "")
        return known

    def clear(self) -> None:
        """Forget the runs of a gateway that went away."""
        self._requests.clear()
        self._runs.clear()
