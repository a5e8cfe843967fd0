"""The words by which mail clients set off what they quote: tables, for the languages that `LANGUAGES` names."""

from __future__ import annotations

LANGUAGES = ("en", "de", "fr", "it", "es", "nl", "pl", "sv", "da", "cs")

WROTE = (
    *("wrote", "writes", "schrieb", "schrieben", "a écrit", "a ecrit", "ha scritto", "ha escrito", "escribió"),
    *("escribio", "schreef", "het volgende geschreven", "napisał", "napisała", "napisał(a)", "napisał/a", "pisze"),
    *("skrev", "skrev følgende", "skrev följande", "napsal", "napsala", "napsal(a)", "napsal/a"),
)
"""Verbs of the line before a quotation, before its colon: Gmail, Apple Mail, Thunderbird, Outlook on the web."""

OPENERS = (
    *("on", "am", "le", "il", "el", "op", "den", "d.", "dne", "w dniu", "dnia", "em", "date:", "datum:"),
    *("mon", "tue", "wed", "thu", "fri", "sat", "sun", "mo", "di", "mi", "do", "fr", "sa", "so"),
    *("lun", "mar", "mer", "gio", "ven", "sab", "dom", "jeu", "sam", "dim", "mié", "mie", "jue", "vie", "sáb"),
    *("ma", "wo", "vr", "za", "zo", "pon", "wt", "śr", "czw", "pt", "sob", "niedz"),
    *("mån", "tis", "ons", "tors", "tor", "fre", "lör", "lør", "sön", "søn", "man", "tir"),
    *("po", "út", "st", "čt", "pá", "ne"),
)
"""How that line begins, where it does not begin with a number: a preposition or a day of the week."""

FROM = ("from", "von", "de", "da", "van", "od", "från", "fra", "mittente", "nadawca")
SENT = (
    *("sent", "date", "gesendet", "datum", "envoyé", "envoyé le", "inviato", "data", "enviado", "enviado el"),
    *("fecha", "verzonden", "wysłano", "skickat", "sendt", "dato", "odesláno"),
)
TO = ("to", "an", "à", "a", "pour", "para", "aan", "do", "adresat", "till", "til", "komu")
SUBJECT = ("subject", "betreff", "objet", "sujet", "oggetto", "asunto", "onderwerp", "temat", "ämne", "emne", "předmět")
"""Labels of the header that Outlook and others put above what they quote."""

ORIGINAL = (
    *("original message", "original appointment", "ursprüngliche nachricht", "originalnachricht", "message d'origine"),
    *("message original", "messaggio originale", "mensaje original", "oorspronkelijk bericht", "wiadomość oryginalna"),
    *("oryginalna wiadomość", "ursprungligt meddelande", "originalmeddelande", "oprindelig meddelelse"),
    *("original meddelelse", "původní e-mail", "původní zpráva", "původní email"),
)
"""Between dashes above what is quoted."""

FORWARDS = ("fwd", "fw", "wg", "tr", "rv", "i", "doorst", "pd", "vb", "vs", "videresend", "enc", "přeposláno")
"""Beginnings of a subject that say that the mail is passed on: what it quotes is what it is about."""

FORWARDED = (
    *("forwarded message", "begin forwarded message", "weitergeleitete nachricht"),
    *("anfang der weitergeleiteten nachricht", "message transféré", "message transmis", "début du message transféré"),
    *("début du message réexpédié", "messaggio inoltrato", "inizio messaggio inoltrato", "mensaje reenviado"),
    *("inicio del mensaje reenviado", "doorgestuurd bericht", "begin doorgestuurd bericht", "przekazana wiadomość"),
    *("treść przekazanej wiadomości", "wiadomość przesłana dalej", "początek przekazywanej wiadomości"),
    *("vidarebefordrat meddelande", "vidarebefordrat mejl", "vidarebefordrat brev", "videresendt meddelelse"),
    *("start på videresendt besked", "videresendt besked", "přeposlaná zpráva", "začátek přeposílané zprávy"),
)
"""Between dashes, or before a colon, above the header of what is passed on."""

SENT_FROM = (
    *("sent from my", "sent from outlook", "sent from yahoo", "sent from mail for", "sent with proton"),
    "get outlook for",
    *("von meinem", "gesendet von", "gesendet mit", "envoyé de mon", "envoyé depuis"),
    *("envoyé à partir de", "inviato da", "inviato dal", "enviado desde", "verzonden vanaf", "verstuurd vanaf"),
    *(
        "verzonden met",
        "wysłano z",
        "wysłane z",
        "skickat från",
        "sendt fra",
        "hent outlook",
        "odesláno z",
        "posláno z",
    ),
)
"""How a line begins that a device puts under what its owner writes."""
