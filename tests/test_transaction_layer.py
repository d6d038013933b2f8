"""Which message belongs to which transaction: RFC 3261 §17.1.3 and §17.2.3, and whose it may be."""

from __future__ import annotations

import pytest
from transactions import RecordingUser, Scene, request, response

from sipmesh.sip import SipSyntaxError
from sipmesh.sip.message import Request

OLD = ""  # a branch of RFC 2543: none at all


@pytest.mark.parametrize("branch", ["z9hG4bKa", OLD, "1"])
def test_a_repeated_request_is_known_again(branch: str) -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    first = scene.layer.accept(request("INVITE", branch), flow)
    assert first is not None
    first.respond(180, b"ringing")
    assert scene.layer.accept(request("INVITE", branch), flow) is None
    assert flow.sent == [b"ringing", b"ringing"]
    assert len(scene.layer) == 1


@pytest.mark.parametrize(
    "other",
    [
        request("INVITE", "z9hG4bKb"),
        request("INVITE", "z9hG4bKa", host="mallory.a.example"),
        request("INVITE", "z9hG4bKa", host="alice.a.example:5071"),
        request("MESSAGE", "z9hG4bKa"),
    ],
    ids=["branch", "host", "port", "method"],
)
def test_another_branch_sent_by_or_method_is_another_transaction(other: Request) -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    assert scene.layer.accept(request("INVITE", "z9hG4bKa"), flow) is not None
    assert scene.layer.accept(other, flow) is not None
    assert len(scene.layer) == 2


@pytest.mark.parametrize(
    "other",
    [
        request("INVITE", OLD, uri="sip:carol@b.example"),
        request("INVITE", OLD, From="<sip:alice@a.example>;tag=other"),
        request("INVITE", OLD, Call_ID="call-2"),
        request("INVITE", OLD, CSeq="2 INVITE"),
        request("INVITE", OLD, host="elsewhere.example"),
        request("INVITE", "z9hG4bKa"),
    ],
    ids=["uri", "from tag", "call-id", "cseq", "via", "cookie"],
)
def test_without_the_magic_cookie_more_has_to_agree(other: Request) -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    assert scene.layer.accept(request("INVITE", OLD), flow) is not None
    assert scene.layer.accept(other, flow) is not None


def test_the_cookie_alone_or_in_another_case_is_no_reason_to_skip_comparing() -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    assert scene.layer.accept(request("INVITE", "Z9HG4BKa"), flow) is not None
    assert scene.layer.accept(request("INVITE", "Z9HG4BKa", Call_ID="call-2"), flow) is not None


@pytest.mark.parametrize("branch", ["z9hG4bKa", OLD])
@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_find_their_invite(method: str, branch: str) -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    invite = scene.layer.accept(request("INVITE", branch), flow)
    to = "<sip:bob@b.example>" + (";tag=theirs" if method == "ACK" else "")
    assert scene.layer.invite_of(request(method, branch, To=to), flow) is invite
    assert scene.layer.invite_of(request(method, "z9hG4bKz"), flow) is None


@pytest.mark.parametrize("branch", ["z9hG4bKa", OLD])
@pytest.mark.parametrize("method", ["ACK", "CANCEL", "INVITE"])
def test_somebody_else_with_the_same_branch_reaches_nothing(method: str, branch: str) -> None:
    scene = Scene()
    mine, theirs = scene.flow("flow 1"), scene.flow("flow 2")
    invite = scene.layer.accept(request("INVITE", branch), mine)
    assert invite is not None
    same = request(method, branch)
    assert scene.layer.invite_of(same, theirs) is None
    if method == "INVITE":
        assert scene.layer.accept(same, theirs) is not None
        assert mine.sent == theirs.sent == []


def test_another_flow_of_the_same_server_is_the_same_server() -> None:
    scene = Scene()
    one, other = scene.flow("fe2.a.example"), scene.flow("fe2.a.example")
    invite = scene.layer.accept(request("INVITE"), one)
    assert scene.layer.invite_of(request("CANCEL"), other) is invite


def test_a_request_to_an_ended_transaction_begins_anew() -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    first = scene.layer.accept(request("MESSAGE"), flow)
    assert first is not None
    first.respond(200, b"done")
    assert scene.layer.accept(request("MESSAGE"), flow) is not None


# Responses ------------------------------------------------------------------------------------------------


def test_a_response_is_matched_by_branch_and_method() -> None:
    scene = Scene()
    flow = scene.flow("fe2.a.example")
    users = {name: RecordingUser() for name in ("INVITE", "CANCEL", "MESSAGE")}
    for name, branch in (("INVITE", "z9hG4bKa"), ("CANCEL", "z9hG4bKa"), ("MESSAGE", "z9hG4bKb")):
        sent = request(name, branch)
        scene.layer.send(name.encode(), branch.encode(), sent.raw, flow, users[name])
    assert scene.layer.responded(response(200, "z9hG4bKa", "CANCEL"), flow)
    assert [users[name].told for name in users] == [[], ["2xx"], []]
    assert scene.layer.responded(response(487, "z9hG4bKa", "INVITE"), flow)
    assert [users[name].told for name in users] == [["300-699"], ["2xx"], []]
    assert not scene.layer.responded(response(200, "z9hG4bKa", "MESSAGE"), flow)
    assert not scene.layer.responded(response(200, "z9hG4bKz", "MESSAGE"), flow)


def test_a_response_from_somewhere_else_is_none() -> None:
    scene = Scene()
    flow, mallory, again = (
        scene.flow("fe2.a.example"),
        scene.flow("mallory.b.example"),
        scene.flow("fe2.a.example"),
    )
    user = RecordingUser()
    scene.layer.send(b"INVITE", b"z9hG4bKa", request("INVITE", "z9hG4bKa").raw, flow, user)
    assert not scene.layer.responded(response(200, "z9hG4bKa"), mallory)
    assert user.told == []
    # RFC 3261 §18.2.2: a server may have had to open another connection to answer.
    assert scene.layer.responded(response(180, "z9hG4bKa"), again)
    assert user.told == ["1xx"]


def test_a_response_that_can_not_be_read_is_an_error() -> None:
    scene = Scene()
    broken = response(200, "z9hG4bKa")
    broken.fields = [one for one in broken.fields if one[0] != b"via"]
    without_via = type(broken)(broken.raw, broken.fields, broken.body_start, 200, b"")
    with pytest.raises(SipSyntaxError):
        scene.layer.responded(without_via, scene.flow("flow 1"))


# The loss of a flow ------------------------------------------------------------------------------------------


def test_only_what_is_on_the_flow_learns_of_its_loss() -> None:
    scene = Scene()
    lost, alive = scene.flow("flow 1"), scene.flow("flow 2")
    users = [RecordingUser() for _ in range(3)]
    scene.layer.send(b"INVITE", b"z9hG4bKa", request("INVITE", "z9hG4bKa").raw, lost, users[0])
    scene.layer.send(b"MESSAGE", b"z9hG4bKb", request("MESSAGE", "z9hG4bKb").raw, lost, users[1])
    scene.layer.send(b"INVITE", b"z9hG4bKc", request("INVITE", "z9hG4bKc").raw, alive, users[2])
    scene.layer.flow_lost(lost)
    scene.layer.flow_lost(lost)
    assert [user.told for user in users] == [["transport failed"], ["transport failed"], []]
    assert len(scene.layer) == 1


def test_all_learn_of_it_even_if_one_of_them_raises() -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    users = [RecordingUser(raises=True) for _ in range(5)]
    for number, user in enumerate(users):
        branch = f"z9hG4bK{number}"
        scene.layer.send(b"MESSAGE", branch.encode(), request("MESSAGE", branch).raw, flow, user)
    with pytest.raises(ZeroDivisionError):
        scene.layer.flow_lost(flow)
    assert [user.told for user in users] == [["transport failed"]] * 5
    assert (len(scene.layer), len(scene.wheel)) == (0, 0)


def test_who_reacts_to_the_loss_by_sending_again_is_not_told_twice() -> None:
    scene = Scene()
    flow, other = scene.flow("flow 1"), scene.flow("flow 2")
    user, second = RecordingUser(), RecordingUser()
    sent = request("MESSAGE", "z9hG4bKb").raw
    user.then = lambda: scene.layer.send(b"MESSAGE", b"z9hG4bKb", sent, other, second)
    scene.layer.send(b"MESSAGE", b"z9hG4bKa", request("MESSAGE", "z9hG4bKa").raw, flow, user)
    scene.layer.flow_lost(flow)
    assert (user.told, second.told, len(scene.layer)) == (["transport failed"], [], 1)
