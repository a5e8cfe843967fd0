"""The steps of a call that we place, on recorded requests: what each tells, says and does next."""

import pytest
from msgspec.structs import replace

from sluiceway import CallStep, CallView, Malformed, Unavailable, Unreadable
from sluiceway_contracts import Error
from sluiceway_gateways.voice._callbacks import STATUS

from .twilio_voice import (
    AGENT,
    CALL_ID,
    CUSTOMER,
    NUMBER,
    OURS,
    VIEW,
    document,
    first,
    goes_to,
    said,
    sample,
    step,
    steps,
    verb,
    verbs,
    voice,
)

PARENT, CHILD = "CA00000000000000000000000000000701", "CA00000000000000000000000000000702"
RECORDED = replace(VIEW, record=True)
IN_HAND = [replace(VIEW, state=state) for state in ("offered", "accepted", "connected")]
OVER = [None, replace(VIEW, state="waiting"), replace(VIEW, state="ended"), replace(VIEW, attempt=3)]
DOWN = Unavailable("NATS is away")


class TestTheAgentIsDialledFirst:
    def test_they_hear_twice_what_it_is_about_and_may_press_a_key(self) -> None:
        intake = step("agent", sample("agent"), VIEW, leg="agent", flags={"ring": 20})
        assert verbs(intake) == ["Gather", "Gather", "Redirect"]
        offer = "A call with Ada. It is about: order A-1042. Press 1 to take it, or any other key to pass it on."
        assert said(intake) == f"{offer} {offer}"
        gather = verb(intake, "Gather")
        assert (gather.get("numDigits"), gather.get("timeout"), gather.get("finishOnKey")) == ("1", "8", "")
        state = {"call": CALL_ID, "attempt": "2", "leg": "agent", "ring": "20"}
        assert goes_to(gather.get("action")) == ("accept", state)
        assert goes_to(verb(intake, "Redirect").text) == ("accept", state)

    def test_that_they_answered_is_a_fact(self) -> None:
        assert step("agent", sample("agent"), VIEW, leg="agent").facts == (
            CallStep(
                at=OURS,
                key=f"{PARENT}:answered",
                call_id=CALL_ID,
                step="answered",
                leg="agent",
                attempt=2,
                external_id=PARENT,
                address=f"tel:{AGENT}",
            ),
        )

    def test_without_a_name_or_a_reason_none_is_said(self) -> None:
        intake = step("agent", sample("agent"), replace(VIEW, name=None, reason=None), leg="agent")
        assert said(intake).startswith("A call with a customer. Press 1")

    def test_a_reason_needs_no_full_stop_of_its_own(self) -> None:
        intake = step("agent", sample("agent"), replace(VIEW, reason=" The\nkettle.. "), leg="agent")
        assert "It is about: The kettle. Press 1" in said(intake)

    def test_a_long_reason_is_cut(self) -> None:
        intake = step("agent", sample("agent"), replace(VIEW, reason="ß" * 500), leg="agent")
        assert said(intake).count("ß") == 2 * 200

    @pytest.mark.parametrize("view", OVER)
    def test_a_call_that_was_taken_back_is_not_offered(self, view: CallView | None) -> None:
        intake = step("agent", sample("agent"), view, leg="agent")
        assert verbs(intake) == ["Say", "Hangup"]
        assert said(intake) == "This call was taken back. Goodbye."
        assert steps(intake) == ["answered"]

    def test_who_will_be_recorded_is_told_before(self) -> None:
        intake = step("agent", sample("agent"), RECORDED, leg="agent")
        assert "order A-1042. It will be recorded. Press 1" in said(intake)

    def test_german_numbers_speak_german(self) -> None:
        intake = step("agent", sample("agent"), VIEW, leg="agent", gateway=voice(replace(NUMBER, lang="de-DE")))
        assert said(intake).startswith("Ein Anruf mit Ada. Es geht um: order A-1042. Drücken Sie die 1")
        assert {say.get("language") for say in document(intake).iter("Say")} == {"de-DE"}


class TestTheAgentPressesAKey:
    @pytest.mark.parametrize("view", IN_HAND)
    def test_with_1_the_customer_is_dialled(self, view: CallView) -> None:
        intake = step("accept", sample("agent-pressed-1"), view, leg="agent", flags={"ring": 20})
        assert steps(intake) == ["accepted"]
        assert first(intake).leg == "agent"
        assert verbs(intake) == ["Say", "Dial"]
        dial = verb(intake, "Dial")
        assert (dial.get("callerId"), dial.get("timeout"), dial.get("timeLimit")) == (OURS, "20", "14400")
        assert dial.get("answerOnBridge") == "true"
        assert dial.get("record") is dial.get("recordingStatusCallback") is None
        state = {"call": CALL_ID, "attempt": "2", "leg": "customer"}
        assert goes_to(dial.get("action")) == ("dialled", state | {"ring": "20"})
        (number,) = dial
        assert (number.tag, number.text) == ("Number", CUSTOMER)
        assert number.get("statusCallbackEvent") == "ringing answered completed"
        assert goes_to(number.get("statusCallback"))[0] == "status"
        assert goes_to(number.get("url")) == ("whisper", state | {"ring": "20"})

    def test_a_recorded_call_records_both_sides_and_says_so(self) -> None:
        intake = step("accept", sample("agent-pressed-1"), RECORDED, leg="agent")
        dial = verb(intake, "Dial")
        assert dial.get("record") == "record-from-answer-dual"
        assert goes_to(dial.get("recordingStatusCallback")) == ("recording", {"call": CALL_ID, "attempt": "2"})
        assert goes_to(dial[0].get("url"))[1]["rec"] == "1"

    @pytest.mark.parametrize("form", ["agent-pressed-2", "agent"])
    def test_any_other_key_or_none_passes_it_on_and_asks_nobody(self, form: str) -> None:
        intake = step("accept", sample(form), leg="agent")
        assert steps(intake) == ["declined"]
        assert (verbs(intake), said(intake)) == (["Say", "Hangup"], "All right, it goes to somebody else. Goodbye.")

    @pytest.mark.parametrize("view", OVER)
    def test_a_call_that_was_taken_back_meanwhile_is_over(self, view: CallView | None) -> None:
        intake = step("accept", sample("agent-pressed-1"), view, leg="agent")
        assert (steps(intake), verbs(intake)) == ([], ["Say", "Hangup"])

    @pytest.mark.parametrize("customer", [None, "mailto:ada@example.org"])
    def test_a_customer_without_a_telephone_is_missed(self, customer: str | None) -> None:
        intake = step("accept", sample("agent-pressed-1"), replace(VIEW, customer=customer), leg="agent")
        assert steps(intake) == ["accepted", "failed"]
        assert said(intake) == "The customer was not reached. We take care of it. Goodbye."


class TestTheCustomerAnswersSecond:
    def test_they_are_greeted_and_joined(self) -> None:
        intake = step("whisper", sample("second"), leg="customer")
        assert (verbs(intake), said(intake)) == (["Say"], "Here is the call that you asked for.")
        assert intake.facts == (
            CallStep(
                at=OURS,
                key=f"{CHILD}:connected",
                call_id=CALL_ID,
                step="connected",
                leg="customer",
                attempt=2,
                external_id=CHILD,
                address=f"tel:{CUSTOMER}",
            ),
        )

    def test_a_recording_is_announced_before(self) -> None:
        intake = step("whisper", sample("second"), leg="customer", flags={"rec": 1})
        assert said(intake).endswith("This call is recorded. Hang up if you do not want that.")


class TestTheCustomerIsDialledFirst:
    @pytest.mark.parametrize("view", IN_HAND)
    def test_they_are_greeted_and_the_agent_is_dialled(self, view: CallView) -> None:
        intake = step("customer", sample("customer"), view, leg="customer", flags={"ring": 25})
        assert (steps(intake), first(intake).leg) == (["answered"], "customer")
        assert verbs(intake) == ["Say", "Dial"]
        assert "we are putting you through" in said(intake)
        number = verb(intake, "Dial")[0]
        assert number.text == AGENT
        assert goes_to(number.get("url"))[0] == "agent-whisper"
        assert goes_to(verb(intake, "Dial").get("action"))[1]["leg"] == "agent"

    def test_a_recording_is_announced(self) -> None:
        intake = step("customer", sample("customer"), RECORDED, leg="customer")
        assert "This call is recorded." in said(intake)
        assert verb(intake, "Dial").get("record") == "record-from-answer-dual"

    @pytest.mark.parametrize("view", OVER)
    def test_a_call_that_nobody_wants_any_more_says_so(self, view: CallView | None) -> None:
        intake = step("customer", sample("customer"), view, leg="customer")
        assert (steps(intake), verbs(intake)) == (["answered"], ["Say", "Hangup"])
        assert said(intake) == "Excuse us, this call is no longer needed. Goodbye."

    def test_an_agent_without_a_telephone_is_missed(self) -> None:
        intake = step("customer", sample("customer"), replace(VIEW, agent=None), leg="customer")
        assert [(f.step, f.leg) for f in intake.facts if isinstance(f, CallStep)] == [
            ("answered", "customer"),
            ("failed", "agent"),
        ]
        assert said(intake).startswith("Nobody could take the call just now. You keep your place")

    def test_the_agent_hears_what_it_is_about(self) -> None:
        intake = step("agent-whisper", sample("second-agent"), VIEW, leg="agent")
        assert (steps(intake), first(intake).leg) == (["answered"], "agent")
        assert goes_to(verb(intake, "Gather").get("action"))[0] == "agent-accept"
        assert said(intake).startswith("A call with Ada.")

    @pytest.mark.parametrize("view", OVER)
    def test_an_agent_who_comes_too_late_hears_so(self, view: CallView | None) -> None:
        intake = step("agent-whisper", sample("second-agent"), view, leg="agent")
        assert (steps(intake), verbs(intake)) == (["answered"], ["Say", "Hangup"])

    def test_with_1_both_are_joined(self) -> None:
        intake = step("agent-accept", sample("second-pressed-1"), leg="agent")
        assert (steps(intake), verbs(intake)) == (["accepted", "connected"], [])

    @pytest.mark.parametrize("form", ["second-pressed-2", "second"])
    def test_without_they_are_not(self, form: str) -> None:
        intake = step("agent-accept", sample(form), leg="agent")
        assert (steps(intake), verbs(intake)) == (["declined"], ["Say", "Hangup"])


class TestWhatBecameOfTheSecondLeg:
    def test_both_spoke(self) -> None:
        intake = step("dialled", sample("dialled-completed"), leg="customer")
        assert verbs(intake) == ["Hangup"]
        assert intake.facts == (
            CallStep(
                at=OURS,
                key=f"{CHILD}:completed",
                call_id=CALL_ID,
                step="completed",
                leg="customer",
                attempt=2,
                external_id=CHILD,
                duration_ms=42_000,
            ),
        )

    def test_its_status_callback_is_the_same_fact(self) -> None:
        told = step("dialled", sample("dialled-completed"), leg="customer")
        called_back = step("status", sample("status-second-completed"), leg="customer")
        assert first(told).key == first(called_back).key

    @pytest.mark.parametrize(
        ("status", "word"),
        [
            ("busy", "busy"),
            ("no-answer", "no_answer"),
            ("failed", "failed"),
            ("canceled", "canceled"),
            ("odd", "failed"),
            ("", "failed"),
        ],
    )
    def test_the_second_did_not_answer(self, status: str, word: str) -> None:
        fields = sample("dialled-busy") | {"DialCallStatus": status}
        intake = step("dialled", fields, leg="customer")
        assert (steps(intake), verbs(intake)) == ([word], ["Say", "Hangup"])
        assert said(intake) == "The customer was not reached. We take care of it. Goodbye."
        assert first(intake).duration_ms is None
        intake = step("dialled", fields, leg="agent")
        assert said(intake).startswith("Nobody could take the call just now.")

    def test_whoever_hung_up_before_they_were_joined_declined(self) -> None:
        intake = step("dialled", sample("dialled-unbridged"), leg="customer")
        assert steps(intake) == ["declined"]
        assert first(intake).key == f"{CHILD}:declined"

    def test_a_leg_that_never_was_has_a_key_all_the_same(self) -> None:
        fact = first(step("dialled", sample("dialled-nowhere"), leg="customer"))
        assert (fact.step, fact.external_id, fact.key) == ("failed", None, f"{PARENT} 2:failed")


class TestStatus:
    @pytest.mark.parametrize(("word", "told"), STATUS.items())
    def test_every_documented_status_has_a_meaning(self, word: str, told: str) -> None:
        intake = step("status", sample("status-ringing") | {"CallStatus": word}, leg="agent")
        assert intake.reply.status == 204
        assert steps(intake) == ([told] if told else [])

    def test_the_end_has_its_duration(self) -> None:
        fact = first(step("status", sample("status-completed"), leg="agent"))
        assert (fact.step, fact.leg, fact.external_id, fact.duration_ms) == ("completed", "agent", PARENT, 61_000)
        assert fact.key == f"{PARENT}:completed"

    def test_a_busy_line_has_none(self) -> None:
        assert first(step("status", sample("status-busy"), leg="agent")).duration_ms is None

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            (
                sample("status-failed"),
                Error(code="failed", message="the network answered SIP 404", provider_code="sip:404"),
            ),
            (
                sample("status-failed-by-code"),
                Error(
                    code="failed",
                    message="this country is not enabled in the voice geographic permissions",
                    provider_code="13227",
                ),
            ),
            (
                sample("status-failed-by-code") | {"ErrorCode": "99999", "ErrorMessage": "Odd"},
                Error(code="failed", message="Odd", provider_code="99999"),
            ),
            (
                sample("status-failed-by-code") | {"ErrorCode": "99999", "ErrorMessage": ""},
                Error(code="failed", message="Twilio gave no reason", provider_code="99999"),
            ),
            (sample("status-failed") | {"SipResponseCode": ""}, None),
        ],
    )
    def test_a_failure_says_why(self, form: dict[str, str], error: Error | None) -> None:
        assert first(step("status", form, leg="agent")).error == error

    def test_an_unknown_status_is_put_aside(self) -> None:
        intake = step("status", sample("status-unknown"), leg="agent")
        (fact,) = intake.facts
        assert isinstance(fact, Unreadable)
        assert b"CallStatus=parked" in fact.raw
        assert fact.why == "Twilio's status parked is not known"


class TestRecording:
    def test_a_recording_is_told_with_what_is_needed_to_fetch_it(self) -> None:
        intake = step("recording", sample("recording-call"))
        fact = first(intake)
        assert (fact.step, fact.at, fact.duration_ms, fact.address) == ("recording", OURS, 40_000, None)
        assert fact.recording == sample("recording-call")["RecordingUrl"] + ".mp3"
        assert fact.key == "RE00000000000000000000000000000801:recording"
        assert intake.reply.status == 204

    def test_one_that_came_to_nothing_is_not(self) -> None:
        assert step("recording", sample("recording-absent")).facts == ()


class TestCoreCanNotBeAsked:
    @pytest.mark.parametrize(
        ("name", "form", "leg", "facts"),
        [
            ("agent", "agent", "agent", ["answered"]),
            ("accept", "agent-pressed-1", "agent", []),
            ("customer", "customer", "customer", ["answered"]),
            ("agent-whisper", "second-agent", "agent", ["answered"]),
        ],
    )
    def test_they_wait_and_it_is_asked_again_three_times(
        self, name: str, form: str, leg: str, facts: list[str]
    ) -> None:
        intake = step(name, sample(form), DOWN, leg=leg, flags={"ring": 25})
        assert (steps(intake), verbs(intake)) == (facts, ["Say", "Pause", "Redirect"])
        at, state = goes_to(verb(intake, "Redirect").text)
        assert (at, state["try"], state["ring"], state["leg"]) == (name, "1", "25", leg)
        assert verb(intake, "Pause").get("length") == "2"
        intake = step(name, sample(form), DOWN, leg=leg, flags={"try": 3})
        assert (steps(intake), verbs(intake)) == (facts, ["Say", "Hangup"])
        assert said(intake).startswith("Sorry, something does not work here.")

    def test_the_key_that_was_pressed_is_not_forgotten(self) -> None:
        intake = step("accept", sample("agent-pressed-1"), DOWN, leg="agent")
        assert goes_to(verb(intake, "Redirect").text)[1]["key"] == "1"
        fields = {name: value for name, value in sample("agent-pressed-1").items() if name != "Digits"}
        assert steps(step("accept", fields, VIEW, leg="agent", flags={"key": 1, "try": 1})) == ["accepted"]


@pytest.mark.parametrize(
    ("url", "why"),
    [({"leg": "cat"}, "leg"), ({"attempt": -1}, "attempt"), ({"leg": "agent", "flags": {"ring": -1}}, "ring")],
)
def test_an_address_that_we_did_not_write_is_malformed(url: dict[str, object], why: str) -> None:
    with pytest.raises(Malformed, match=f"{why} in the URL"):
        step("agent", sample("agent"), **url)  # type: ignore[arg-type]  # what is wrong is the point


def test_a_step_that_does_not_exist_is_malformed() -> None:
    with pytest.raises(Malformed, match="there is no step dance"):
        step("dance", sample("agent"))


def test_what_asks_again_gets_the_same_facts() -> None:
    once, twice = (step("agent", sample("agent"), VIEW, leg="agent") for _ in range(2))
    assert once == twice
