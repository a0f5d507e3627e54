from __future__ import annotations

import pytest

from florilegium.pipelines.sample_filters.personal_text import is_iban, is_luhn, personal_kinds

WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in "jane@example.org")
"""Full-width letters, as in East Asian texts."""
PERSONAL = {
    "write to jane.doe+news@mail.example.org today": "email",
    "J.DOE@EXAMPLE.CO.UK": "email",
    "info @ example.de": "email",
    WIDE: "email",
    "почта: иван@пример.рф": "email",
    "call +1 202-555-0143": "phone",
    "+44 (0)20 7946 0958": "phone",
    "0049 30 901820": "phone",
    "(212) 555-0187": "phone",
    "212-555-0187": "phone",
    "089/636 480 18": "phone",
    "Tel. 5550187": "phone",
    "Fon: 030 901820": "phone",
    "4111 1111 1111 1111": "card",
    "5500-0000-0000-0004": "card",
    "card 340000000000009 valid": "card",
    "DE89 3704 0044 0532 0130 00": "iban",
    "GB82WEST12345698765432": "iban",
    "NL91 ABNA 0417 1643 00 BIC": "iban",
}
HARMLESS = [
    "",
    "4111 1111 1111 1112",
    "0000 0000 0000 0000",
    "1234 5678 9012 3456",
    "DE89 3704 0044 0532 0130 01",
    "ISBN 978-3-16-148410-0",
    "12.05.2023 14:30",
    "2023-11-28",
    "28/11/2023",
    "$1,299.99",
    "3.14159265358979",
    "192.168.100.200",
    "@florilegium",
    "3 @ 5.00",
    "ROOM 101",
    "SALE 50% OFF 1999-2024",
    "EN 60529 IP67 2020",
    "0.5 mm 10-20",
    "version 1.2.3-4567890",
    "B2B 12V 500W",
    "Mobile World 2024",
]


@pytest.mark.parametrize(("text", "kind"), PERSONAL.items())
def test_personal_data_is_found_as_its_kind(text: str, kind: str) -> None:
    assert personal_kinds(text) == [kind]


@pytest.mark.parametrize("text", HARMLESS)
def test_prices_dates_versions_and_wrong_checksums_are_not_personal(text: str) -> None:
    assert personal_kinds(text) == []


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = "jane@example.org, +1 202-555-0143"
    assert personal_kinds(text) == ["email", "phone"]
    assert personal_kinds(text, ("phone",)) == ["phone"]


def test_every_other_check_digit_is_wrong() -> None:
    assert [is_luhn(f"411111111111111{digit}") for digit in range(10)] == [
        digit == 1 for digit in range(10)
    ]
    assert [is_iban(f"DE{check:02}370400440532013000") for check in range(80, 98)] == [
        check == 89 for check in range(80, 98)
    ]


def test_a_long_hostile_text_takes_no_time() -> None:
    for part in ("1 ", "a.", "(0", "+1-", "A1", "x@"):
        assert isinstance(personal_kinds(part * 20_000), list)
