"""The messages of RFC 4475, and what becomes of each on a stream.

What makes each of them hard is as the RFC has it; where a line has no part in that, it is shortened.
"""

from __future__ import annotations

from attrs import frozen

SERVED = "served"
"""Parsed, and each field that a proxy needs can be read."""
UNREADABLE = "unreadable: "
"""Parsed, but reading the field named gives a 400."""
REFUSED = "refused: "
"""Answered with this status; the stream goes on."""
LOST = "lost: "
"""Answered with this status, and the stream ends."""
WAITING = "waiting"
"""More has to come; the bound in time ends that."""
DISCARDED = "discarded"
"""A response that nobody sees; the stream goes on."""

VIA = b"Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK1"
TO = b"To: <sip:user@example.com>"
FROM = b"From: <sip:caller@example.net>;tag=1"
CSEQ = b"CSeq: 8 "
CALL_ID = b"Call-ID: torture"
SDP = b"v=0\r\no=m 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 49217 RTP/AVP 0\r\n"


@frozen
class Case:
    """One message, and what becomes of it on a stream."""

    section: str
    name: str
    raw: bytes
    verdict: str


CASES: dict[str, Case] = {}


def case(
    section: str,
    name: str,
    verdict: str,
    start: bytes,
    *lines: bytes,
    body: bytes = b"",
    length: bytes | None = None,
) -> None:
    """Add a case. Lines may be folded.

    :param length: the line that states the body's length; the right one where none is given.
    """
    stated = b"Content-Length: %d" % len(body) if length is None else length
    raw = b"\r\n".join([line for line in (start, *lines, stated) if line] + [b"", body])
    CASES[name] = Case(section, name, raw, verdict)


def plain(
    section: str,
    name: str,
    verdict: str,
    start: bytes,
    *lines: bytes,
    body: bytes = b"",
    length: bytes | None = None,
) -> None:
    """Add a case in which all that is not in ``lines`` is as it should be."""
    method = start.split()[0]
    whole = {
        b"Via": VIA,
        b"To": TO,
        b"From": FROM,
        b"Call-ID": CALL_ID,
        b"CSeq": CSEQ + method,
        b"Max-Forwards": b"Max-Forwards: 70",
    }
    for line in lines:
        whole.pop(line.partition(b":")[0], None)
    case(section, name, verdict, start, *whole.values(), *lines, body=body, length=length)


# 3.1.1 Valid messages -----------------------------------------------------------------------------------

case(
    "3.1.1.1", "wsinv", SERVED, b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
    b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
    b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8',
    b"MaX-fOrWaRdS: 0068", b"Call-ID: wsinv.ndaksdj@192.0.2.1", b"cseq: 0009\r\n  INVITE",
    b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw", b"s :",
    b"NewFangledHeader:   newfangled value\r\n continued newfangled value",
    b"UnknownHeaderWithUnusualValue: ;;,,;;,;", b"Content-Type: application/sdp",
    b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,"
    b"\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239",
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam ='
    b"\r\n      newvalue ;\r\n  secondparam ; q = 0.33",
    body=SDP, length=b"Content-Length   : %d" % len(SDP),
)  # fmt: skip
UNUSUAL = b"!interesting-Method0123456789_*+`.%indeed'~"
case(
    "3.1.1.2", "intmeth", SERVED,
    UNUSUAL + b" sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    b":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    b"@example.com SIP/2.0",
    b"Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~",
    b'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f"'
    b" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>",
    b"From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>"
    b";fromParam''~+*_!.-%=\"\xd1\x80\xd0\xb0\xd0\xb1\";tag=_token~1'+`*%!-.",
    b"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", b"CSeq: 139122385 " + UNUSUAL,
    b"Max-Forwards: 255", b"extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb",
)  # fmt: skip
plain(
    "3.1.1.3", "esc01", SERVED, b"INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0",
    b"To: sip:%75se%72@example.com", b"From: <sip:I%20have%20spaces@example.net>;tag=938",
    b"Contact: <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>",
)  # fmt: skip
plain(
    "3.1.1.4", "escnull", SERVED, b"REGISTER sip:example.com SIP/2.0", b"To: sip:null-%00-null@example.com",
    b"From: sip:null-%00-null@example.com;tag=839923423", b"Contact: <sip:%00@host5.example.com>",
    b"Contact: <sip:%00%00@host5.example.com>",
)  # fmt: skip
plain(
    "3.1.1.5", "esc02", SERVED, b"RE%47IST%45R sip:registrar.example.com SIP/2.0",
    b'To: "%Z%45" <sip:resource@example.com>', b'From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23',
    b"Contact: <sip:alias1@host1.example.com>", b"Contact: <sip:alias2@host1.example.com>",
    b"Contact: <sip:alias3@host1.example.com>",
)  # fmt: skip
plain(
    "3.1.1.6", "lwsdisp", SERVED, b"OPTIONS sip:user@example.com SIP/2.0",
    b"From: caller<sip:caller@example.com>;tag=323",
)  # fmt: skip
LONG = b"really" * 20 + b"long"
case(
    "3.1.1.7", "longreq", SERVED, b"INVITE sip:user@example.com SIP/2.0",
    b'To: "I have a user name of ' + LONG + b'" <sip:user@example.com:6000;unknownparam1=very'
    + LONG + b";longparam" + LONG + b"=shortvalue>",
    b"F: sip:amazinglylongcallername%b@example.net;tag=12%b424" % (LONG, LONG)
    + b";unknownheaderparam%b=value;unknownValue=%b" % (LONG, LONG),
    b"Call-ID: longreq.one" + LONG + b"callid", b"CSeq: 3882340 INVITE",
    b"Unknown-" + LONG + b"-Name: unknown-" + LONG + b"-value; unknown-" + LONG
    + b"-parameter-name = unknown-" + LONG + b"-value",
    b"Via: SIP/2.0/TCP sip33.example.com", b"v: SIP/2.0/TCP sip32.example.com",
    *(b"V: SIP/2.0/TCP sip%d.example.com" % n for n in range(31, 5, -1)),
    b"Via: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch=very" + LONG + b"branchvalue",
    b"Max-Forwards: 70", b"Contact: <sip:amazinglylongcallername" + LONG + b"@host5.example.net>", body=SDP,
    length=b"l: %d" % len(SDP),
)  # fmt: skip
plain(
    "3.1.1.8", "dblreq", SERVED, b"REGISTER sip:example.com SIP/2.0", b"Contact: sip:j.user@host.example.com",
)  # fmt: skip
plain("3.1.1.9", "semiuri", SERVED, b"OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0")
case(
    "3.1.1.10", "transports", SERVED, b"OPTIONS sip:user@example.com SIP/2.0",
    *(b"Via: SIP/2.0/%b a.example.com;branch=z9hG4bK1" % t for t in b"UDP SCTP TLS UNKNOWN TCP".split()),
    TO, FROM, b"Max-Forwards: 70", CALL_ID, b"CSeq: 60 OPTIONS",
)  # fmt: skip
MULTIPART = (
    b"--7a9\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
    b"--7a9\r\nContent-Type: application/octet-stream\r\n\r\n\x000\x82\r\n\r\n\n\r\n--7a9--"
)
plain(
    "3.1.1.11", "mpart01", SERVED, b"MESSAGE sip:kumiko@example.org SIP/2.0",
    b"Content-Type: multipart/mixed;boundary=7a9", body=MULTIPART,
)  # fmt: skip
REPLIED = (VIA, TO, FROM, CALL_ID, b"CSeq: 35 INVITE")
case(
    "3.1.1.12", "unreason", SERVED, b"SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe \xd1\x81\xd1\x82\xd0\xbe",
    *REPLIED,
)  # fmt: skip
case("3.1.1.13", "noreason", SERVED, b"SIP/2.0 100 ", *REPLIED)

# 3.1.2 Invalid messages ---------------------------------------------------------------------------------

plain(
    "3.1.2.1", "badinv01", UNREADABLE + "via", b"INVITE sip:user@example.com SIP/2.0",
    b"Via: SIP/2.0/UDP 192.0.2.15;;,;,,", b'Contact: "Joe" <sip:joe@example.org>;;;;', body=SDP,
)  # fmt: skip
plain(
    "3.1.2.2", "clerr", WAITING, b"INVITE sip:user@example.com SIP/2.0", body=SDP,
    length=b"Content-Length: 9999",
)  # fmt: skip
plain("3.1.2.3", "ncl", LOST + "400", b"INVITE sip:user@example.com SIP/2.0", length=b"Content-Length: -999")
case(
    "3.1.2.4", "scalar02", UNREADABLE + "cseq max_forwards", b"REGISTER sip:example.com SIP/2.0", VIA, TO,
    FROM, CALL_ID, b"CSeq: 36893488147419103232 REGISTER", b"Max-Forwards: 300",
    b"Expires: 10000000000000000000000", b"Contact: <sip:user@host129.example.com>;expires=280297596632815",
)  # fmt: skip
case(
    "3.1.2.5", "scalarlg", UNREADABLE + "cseq", b"SIP/2.0 503 Service Unavailable", VIA, TO, FROM, CALL_ID,
    b"CSeq: 9292394834772304023312 OPTIONS", b"Retry-After: 949302838503028349304023988",
    b'Warning: 1812 overture "In Progress"',
)  # fmt: skip
plain(
    "3.1.2.6", "quotbal", UNREADABLE + "to", b"INVITE sip:user@example.com SIP/2.0",
    b'To: "Mr. J. User <sip:j.user@example.com>',
)  # fmt: skip
plain("3.1.2.7", "ltgtruri", UNREADABLE + "uri", b"INVITE <sip:user@example.com> SIP/2.0")
plain("3.1.2.8", "lwsruri", REFUSED + "400", b"INVITE sip:user@example.com; lr SIP/2.0")
plain("3.1.2.9", "lwsstart", REFUSED + "400", b"INVITE  sip:user@example.com  SIP/2.0")
plain("3.1.2.10", "trws", REFUSED + "400", b"OPTIONS sip:remote-target@example.com SIP/2.0  ")
plain(
    "3.1.2.11", "escruri", UNREADABLE + "uri",
    b"INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0",
)  # fmt: skip
plain(
    "3.1.2.12", "baddate", SERVED, b"INVITE sip:user@example.com SIP/2.0",
    b"Date: Fri, 01 Jan 2010 16:00:00 EST",
)  # fmt: skip
plain(
    "3.1.2.13", "regbadct", SERVED, b"REGISTER sip:example.com SIP/2.0",
    b"Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E",
)  # fmt: skip
plain(
    "3.1.2.14", "badaspec", UNREADABLE + "to", b"OPTIONS sip:user@example.org SIP/2.0",
    b'To: "Watson, Thomas" < sip:t.watson@example.org >',
)  # fmt: skip
plain(
    "3.1.2.15", "baddn", UNREADABLE + "from_ to", b"OPTIONS sip:t.watson@example.org SIP/2.0",
    b"From:    Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
    b"To:      Watson, Thomas <sip:t.watson@example.org>",
)  # fmt: skip
plain(
    "3.1.2.16", "badvers", REFUSED + "505", b"OPTIONS sip:t.watson@example.org SIP/7.0",
    b"Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw",
)  # fmt: skip
plain("3.1.2.17", "mismatch01", SERVED, b"OPTIONS sip:user@example.com SIP/2.0", b"CSeq: 8 INVITE")
plain("3.1.2.18", "mismatch02", SERVED, b"NEWMETHOD sip:user@example.com SIP/2.0", b"CSeq: 8 INVITE")
case("3.1.2.19", "bigcode", DISCARDED, b"SIP/2.0 4294967301 better not break the receiver", *REPLIED)

# 3.2 and 3.3: the transaction and the application ---------------------------------------------------------

plain(
    "3.2.1", "badbranch", SERVED, b"OPTIONS sip:user@example.com SIP/2.0",
    b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK",
)  # fmt: skip
case(
    "3.3.1", "insuf", UNREADABLE + "from_ to call_id", b"INVITE sip:user@example.com SIP/2.0",
    b"CSeq: 193942 INVITE", VIA, body=SDP,
)  # fmt: skip
plain("3.3.2", "unkscm", SERVED, b"OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0")
plain("3.3.3", "novelsc", SERVED, b"OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0")
plain(
    "3.3.4", "unksm2", SERVED, b"REGISTER sip:example.com SIP/2.0", b"To: isbn:2983792873",
    b"From: <http://www.example.com>;tag=3234233", b"Contact: <name:John_Smith>",
)  # fmt: skip
plain(
    "3.3.5", "bext01", SERVED, b"OPTIONS sip:user@example.com SIP/2.0",
    b"Require: nothingSupportsThis, nothingSupportsThisEither",
    b"Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
)  # fmt: skip
plain(
    "3.3.6", "invut", SERVED, b"INVITE sip:user@example.com SIP/2.0",
    b"Content-Type: application/unknownformat", body=b"<audio>\r\n",
)  # fmt: skip
plain(
    "3.3.7", "regaut01", SERVED, b"REGISTER sip:example.com SIP/2.0",
    b"Authorization: NoOneKnowsThisScheme opaque-data=here",
)  # fmt: skip
case(
    "3.3.8", "multi01", REFUSED + "400", b"INVITE sip:user@company.com SIP/2.0",
    b"Via: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdj", b"To: sip:user@example.com;tag=1",
    b"To: sip:other@example.net", b"From: sip:caller@example.net;tag=39291",
    b"From: sip:caller@example.org;tag=7", b"CSeq: 5 INVITE", b"CSeq: 8 INVITE",
    b"Call-ID: multi01.98asdh@192.0.2.1", b"Call-ID: multi01.98asdh@192.0.2.2", b"Max-Forwards: 70",
    b"Max-Forwards: 5", body=SDP,
)  # fmt: skip
plain(
    "3.3.9", "mcl01", LOST + "400", b"OPTIONS sip:user@example.com SIP/2.0", b"Content-Length: 13",
    b"Content-Length: 5", body=b"Only 13 bytes", length=b"",
)  # fmt: skip
case(
    "3.3.10", "bcast", SERVED, b"SIP/2.0 200 OK", b"Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923",
    b"Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23", *REPLIED[1:],
)  # fmt: skip
plain("3.3.11", "zeromf", SERVED, b"OPTIONS sip:user@example.com SIP/2.0", b"Max-Forwards: 0")
plain(
    "3.3.12", "cparam01", SERVED, b"REGISTER sip:example.com SIP/2.0",
    b"Contact: sip:+19725552222@gw1.example.net;unknownparam",
)  # fmt: skip
plain(
    "3.3.13", "cparam02", SERVED, b"REGISTER sip:example.com SIP/2.0",
    b"Contact: <sip:+19725552222@gw1.example.net;unknownparam>",
)  # fmt: skip
plain(
    "3.3.14", "regescrt", SERVED, b"REGISTER sip:example.com SIP/2.0",
    b"Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
)  # fmt: skip
plain(
    "3.3.15", "sdp01", SERVED, b"INVITE sip:user@example.com SIP/2.0", b"Accept: text/nobodyKnowsThis",
    body=SDP,
)  # fmt: skip
case(
    "3.4.1", "inv2543", LOST + "400", b"INVITE sip:UserB@example.com SIP/2.0",
    b"Via: SIP/2.0/UDP iftgw.example.com", b"From: <sip:+13035551111@ift.client.example.net;user=phone>",
    b"Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>",
    b"To: sip:+16505552222@ss1.example.net;user=phone", b"Call-ID: inv2543.1717@ift.client.example.com",
    b"CSeq: 56 INVITE", body=SDP, length=b"",
)  # fmt: skip
