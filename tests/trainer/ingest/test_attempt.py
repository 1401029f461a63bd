import polars as pl

DERIVED = ('column = "order"\nattempt = "try"', 'group_by = ["order", "total"]\nmax_gap = "60s"')


def at(seconds: int) -> str:
    return f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"


def attempts(history: pl.DataFrame) -> list[tuple[str, int, str]]:
    return history.select("payment_id", "attempt", "status").rows()


def test_derived_payments_end_with_a_gap_and_are_numbered_in_the_order_they_began(shop):
    shop.map(DERIVED)
    shop.rows(
        {"order": "b", "when": at(200)},
        {"order": "a", "when": at(60), "result": "no"},
        {"order": "a", "when": at(0), "result": "no"},
        {"order": "a", "when": at(121)},
        {"order": "a", "when": at(61), "total": "9", "result": "no"},
    )
    assert shop.ingest().payments == 4
    assert attempts(shop.history) == [
        ("p000000001", 1, "declined"),
        ("p000000001", 2, "declined"),
        ("p000000002", 1, "declined"),
        ("p000000003", 1, "approved"),
        ("p000000004", 1, "approved"),
    ]


def test_an_approval_ends_a_derived_payment_when_the_mapping_says_so(shop):
    rows = [{"when": at(0)}, {"when": at(10), "result": "no"}, {"when": at(20)}]
    shop.map(DERIVED)
    shop.rows(*rows)
    shop.ingest()
    assert shop.history["attempt"].to_list() == [1, 2, 3]
    shop.map((DERIVED[0], DERIVED[1] + "\napproval_ends = true"))
    shop.ingest(force=True)
    assert shop.history["attempt"].to_list() == [1, 1, 2]


def test_rows_at_the_same_moment_keep_the_order_of_the_file(shop):
    shop.map(DERIVED)
    shop.rows({"result": "no"}, {"result": "no"}, {"result": "ok"})
    shop.ingest()
    assert attempts(shop.history)[-1] == ("p000000001", 3, "approved")


def test_a_row_without_its_group_is_refused_not_grouped_with_others(shop):
    shop.map(DERIVED)
    shop.rows({}, {"order": ""}, {"order": ""})
    shop.ingest()
    assert shop.quarantine["reasons"].to_list() == [["missing:payment_id"]] * 2


def test_a_refused_row_still_counts_as_the_attempt_it_was(shop):
    shop.map(('attempt = "try"', ""))
    shop.rows({"when": at(0), "money": "???"}, {"when": at(5)})
    shop.ingest()
    assert shop.history["attempt"].to_list() == [2]


def test_attempts_are_numbered_by_time_within_the_payment_across_files(shop):
    shop.map(('attempt = "try"', ""))
    late = shop.rows({"when": at(30)}, {"order": "x", "when": at(10)}, name="late.csv")
    early = shop.rows({"when": at(5), "result": "no"}, name="early.csv")
    shop.ingest(late, early)
    assert shop.history.select("payment_id", "attempt").rows() == [("o1", 1), ("x", 1), ("o1", 2)]


def test_more_attempts_than_the_contract_allows_are_refused(shop):
    shop.map(('attempt = "try"', ""))
    shop.rows(*({"when": at(index)} for index in range(1002)))
    report = shop.ingest()
    assert report.rows_written == 1000
    assert {code: count.rows for code, count in report.reasons.items()} == {"out_of_range:attempt": 2}


def test_the_first_of_two_rows_that_claim_one_attempt_is_kept(shop):
    shop.rows({"total": "1"}, {"total": "2"}, {"total": "3", "try": "2"})
    report = shop.ingest()
    assert shop.history["amount_minor"].to_list() == [100, 300]
    assert shop.quarantine.select("row", "reasons").rows() == [(2, ["duplicate_attempt"])]
    assert report.reasons["duplicate_attempt"].first_row == 2


def test_a_row_refused_for_another_reason_takes_no_attempt_from_a_good_one(shop):
    shop.rows({"total": "-1"}, {"total": "2"})
    shop.ingest()
    assert shop.history["amount_minor"].to_list() == [200]
    assert shop.quarantine["reasons"].to_list() == [["negative:amount_minor"]]


def test_a_file_given_twice_does_not_count_twice(shop):
    path = shop.rows({}, {"try": "2"})
    report = shop.ingest(path, path)
    assert (report.rows_read, report.rows_written, report.rows_quarantined) == (4, 2, 2)


def test_propensities_by_processor_differ_between_first_and_later_attempts(shop):
    shop.map(
        columns='processor = "via"', extra="[propensity]\nfirst = { a = 0.25, b = 0.75 }\nlater = { a = 0.5, b = 0.5 }"
    )
    shop.rows({"via": "a"}, {"via": "b", "try": "2"}, {"via": "c", "try": "3"}, {"via": "", "try": "4"})
    shop.ingest()
    assert shop.history["propensity"].to_list() == [0.25, 0.5, None]
    assert shop.quarantine["reasons"].to_list() == [["unmapped:propensity"]]
