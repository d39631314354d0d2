"""What `make demo` shows of the host's output."""

import io

from vlmguard_plugin.demo.run import follow


def test_progress_is_a_line_where_it_is_done(capsys):
    output = [
        "a line of the host's own\n",
        "INFO: ===== demo_vlm =====\n",
        *(f"fit cmrm: text: {done:3}%|##| {done}/100 [00:0{done % 7}<00:00]\n" for done in (0, 50, 100, 100)),
        "vlmguard: said\n",
        "Infer demo_vlm/Set: 100%|##| 8/8\n",
        "Infer demo_vlm/Other: 100%|##| 8/8\n",
    ]
    log = io.StringIO()
    follow(output, log)
    assert log.getvalue() == "".join(output)
    shown = capsys.readouterr().err.splitlines()
    assert [line.partition("%|")[0] for line in shown] == [
        "INFO: ===== demo_vlm =====",
        "fit cmrm: text: 100",
        "vlmguard: said",
        "Infer demo_vlm/Set: 100",
        "Infer demo_vlm/Other: 100",
    ]
