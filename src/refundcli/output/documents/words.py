"""The words of documents in English, German and Swedish."""

from typing import NamedTuple

from refundcli.domain.reasons import RefundReason
from refundcli.domain.tax.billing import TaxCategory


class Words(NamedTuple):
    """`{…}` are filled in. `reasons` and `categories` in the order of their enumerations."""

    credit_note: str
    confirmation: str
    number: str
    date: str
    invoice: str
    invoice_of: str
    customer: str
    customer_vat_id: str
    reason: str
    refunded: str
    to_the_method: str
    on_day: str
    description: str
    net: str
    rate: str
    tax: str
    amount: str
    all_of: str
    part_of: str
    sum_net: str
    sum_tax: str
    total: str
    vat_id: str
    tax_number: str
    registration: str
    page: str
    void: str
    void_since: str
    no_tax_shown: str
    reasons: tuple[str, ...]
    categories: tuple[str, ...]

    def of_reason(self, reason: RefundReason) -> str:
        return self.reasons[list(RefundReason).index(reason)]

    def of_category(self, category: TaxCategory) -> str:
        return self.categories[list(TaxCategory).index(category)]


WORDS = {
    "en": Words(
        credit_note="Credit note",
        confirmation="Refund confirmation",
        number="Number",
        date="Date",
        invoice="Invoice",
        invoice_of="{number} of {day}",
        customer="Customer",
        customer_vat_id="Your VAT ID",
        reason="Reason",
        refunded="Refunded",
        to_the_method="to the original payment method",
        on_day="on {day}",
        description="Description",
        net="Net",
        rate="VAT rate",
        tax="VAT",
        amount="Amount",
        all_of="Refund of invoice {number}",
        part_of="Partial refund of invoice {number}",
        sum_net="Net",
        sum_tax="VAT {rate} %",
        total="Total refunded",
        vat_id="VAT ID",
        tax_number="Tax number",
        registration="Registration",
        page="Page",
        void="VOID",
        void_since="This document is void since {day}: the refund was not made, or was reversed.",
        no_tax_shown="This confirmation is not a credit note for VAT purposes.",
        reasons=(
            "",
            "Chargeback",
            "Returned goods",
            "Product unsatisfactory",
            "Overcharged",
            "Duplicate payment",
            "Billing error",
            "Fraudulent charge",
        ),
        categories=(
            "",
            "Zero rated",
            "Exempt from VAT",
            "Reverse charge: the customer accounts for the VAT",
            "Intra-Community supply, exempt from VAT",
            "Export outside the EU, exempt from VAT",
            "Outside the scope of VAT",
        ),
    ),
    "de": Words(
        credit_note="Rechnungskorrektur",
        confirmation="Erstattungsbestätigung",
        number="Nummer",
        date="Datum",
        invoice="Rechnung",
        invoice_of="{number} vom {day}",
        customer="Kunde",
        customer_vat_id="Ihre USt-IdNr.",
        reason="Grund",
        refunded="Erstattet",
        to_the_method="über das ursprüngliche Zahlungsmittel",
        on_day="am {day}",
        description="Beschreibung",
        net="Netto",
        rate="USt-Satz",
        tax="USt",
        amount="Betrag",
        all_of="Erstattung der Rechnung {number}",
        part_of="Teilerstattung der Rechnung {number}",
        sum_net="Netto",
        sum_tax="USt {rate} %",
        total="Erstattungsbetrag",
        vat_id="USt-IdNr.",
        tax_number="Steuernummer",
        registration="Register",
        page="Seite",
        void="UNGÜLTIG",
        void_since="Dieses Dokument ist seit dem {day} ungültig: Die Erstattung wurde nicht ausgeführt oder rückgängig"
        " gemacht.",
        no_tax_shown="Diese Bestätigung ist keine Rechnungskorrektur im Sinne des Umsatzsteuergesetzes.",
        reasons=(
            "",
            "Rückbuchung",
            "Warenrückgabe",
            "Mangelhaftes Produkt",
            "Zu viel berechnet",
            "Doppelte Zahlung",
            "Abrechnungsfehler",
            "Betrügerische Zahlung",
        ),
        categories=(
            "",
            "Nullsatz",
            "Von der Umsatzsteuer befreit",
            "Steuerschuldnerschaft des Leistungsempfängers",
            "Steuerfreie innergemeinschaftliche Lieferung",
            "Steuerfreie Ausfuhrlieferung",
            "Nicht umsatzsteuerbar",
        ),
    ),
    "sv": Words(
        credit_note="Kreditfaktura",
        confirmation="Återbetalningsbekräftelse",
        number="Nummer",
        date="Datum",
        invoice="Faktura",
        invoice_of="{number} av den {day}",
        customer="Kund",
        customer_vat_id="Ert momsregistreringsnummer",
        reason="Anledning",
        refunded="Återbetalt",
        to_the_method="till det ursprungliga betalningssättet",
        on_day="den {day}",
        description="Beskrivning",
        net="Netto",
        rate="Momssats",
        tax="Moms",
        amount="Belopp",
        all_of="Återbetalning av faktura {number}",
        part_of="Delåterbetalning av faktura {number}",
        sum_net="Netto",
        sum_tax="Moms {rate} %",
        total="Återbetalt belopp",
        vat_id="Momsreg.nr",
        tax_number="Skattenummer",
        registration="Registreringsnummer",
        page="Sida",
        void="MAKULERAD",
        void_since="Dokumentet är makulerat sedan den {day}: återbetalningen genomfördes inte eller återfördes.",
        no_tax_shown="Bekräftelsen är ingen kreditfaktura enligt mervärdesskattelagen.",
        reasons=(
            "",
            "Återdebitering",
            "Returnerade varor",
            "Otillfredsställande produkt",
            "För högt debiterat",
            "Dubbel betalning",
            "Faktureringsfel",
            "Bedräglig debitering",
        ),
        categories=(
            "",
            "Nollskattesats",
            "Undantag från moms",
            "Omvänd betalningsskyldighet",
            "Unionsintern leverans, undantagen från moms",
            "Export utanför EU, undantagen från moms",
            "Omfattas inte av moms",
        ),
    ),
}
