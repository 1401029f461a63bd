from trainer.__main__ import main


def arguments(shop):
    return ["ingest", "--mapping", str(shop.mapping), "--out", str(shop.out), str(shop.folder / "shop.csv")]


def test_the_summary_says_what_became_of_every_row(shop, capsys):
    shop.rows({}, {"try": "2", "result": "no"}, {"try": "3", "total": "-1"})
    assert main(arguments(shop)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "rows read 3"
    assert lines[1] == "rows written 2 in 1 payments: approved 1, declined 1"
    assert lines[2] == "rows quarantined 1"
    assert lines[3] == f"negative:amount_minor 1 first: {shop.folder / 'shop.csv'} row 3"
    assert any(line.startswith("columns absent merchant_segment, ") for line in lines)


def test_a_refusal_is_one_sentence_on_stderr_and_exit_code_2(shop, capsys):
    assert main(arguments(shop)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"ingest: expected a file with payments, found nothing at {shop.folder / 'shop.csv'}\n"
