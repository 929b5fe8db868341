"""What the submitting shell would expand is refused; everything else reaches it unharmed."""

import subprocess

import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.submission import check_words

HARMLESS = ["results=my results", "training={epochs: 2}", "a=;b|c&d>e<f*g?h'i", "~x", "#y", "é", "(z)", "-n", ""]


@pytest.mark.parametrize("word", ["results=$(touch x)", "a=`id`", 'b="', "c=\\", "/data/$USER/config.yaml"])
def test_a_word_that_the_shell_expands_is_refused(word):
    with pytest.raises(LayerLotteryError, match="command line: found ") as caught:
        check_words(["fine", word])
    assert repr(word) in str(caught.value)


def test_every_word_that_passes_is_left_as_it_is_by_a_shell_in_double_quotes():
    check_words(HARMLESS)
    for word in HARMLESS:
        ran = subprocess.run(["sh", "-c", f'printf %s "{word}"'], capture_output=True, text=True, check=True)
        assert ran.stdout == word
