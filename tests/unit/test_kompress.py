"""Kompress in the farm: exactly headroom's result, in batches as for single texts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest
from headroom.transforms import kompress_compressor as upstream
from headroom.transforms.kompress_compressor import KompressCompressor, KompressConfig

from loadtest.graphs import POISON, build_model, documents, foreign_model
from shared.errors import ModelError
from shared.headroom import MAX_TOKENS, KompressEngine, Row
from shared.model_files import in_directory
from shared.settings import Settings
from workers.engines import TEXT_ENGINES, text_engine, threads
from workers.engines.choose_device import choose
from workers.engines.model_session import CPU, PROBE, ModelSession, batches
from workers.engines.tokenizer import Tokenizer

from ..texts import events, prose

URLS = " ".join(f"https://example.org/{n}/a%20very-long_path/{n * 7919}" for n in range(400))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def engine(model: Path) -> KompressEngine:
    found = TEXT_ENGINES["kompress"](Settings(model_dir=model)).engine
    assert isinstance(found, KompressEngine)
    return found


def _headrooms(model: Path) -> KompressCompressor:
    """Return headroom's own compressor, with its ONNX wrapper and transformers' tokenizer."""
    from transformers import PreTrainedTokenizerFast

    session = ort.InferenceSession(
        str(model / "onnx/kompress-fp32.onnx"), providers=["CPUExecutionProvider"]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"), pad_token="[PAD]"
    )
    upstream._kompress_cache["reference"] = (upstream._OnnxModel(session), tokenizer, "onnx")
    return KompressCompressor(KompressConfig(model_id="reference", enable_ccr=False))


def _texts() -> list[str]:
    pieces = [prose(), URLS, events(), "x" * 9000 + " " + prose(), prose()[:200]]
    for text in documents():
        words = text.split(" ")
        pieces += [" ".join(words[i : i + 700]) for i in range(0, min(len(words), 3500), 700)]
        if len(pieces) >= 25:
            break
    return pieces


@pytest.mark.parametrize("ratio", [None, 0.4])
def test_each_result_equals_headrooms_own(
    model: Path, engine: KompressEngine, ratio: float | None
) -> None:
    reference = _headrooms(model)
    texts = _texts()
    assert len(texts) >= 25
    changed = 0
    for text in texts:
        wanted = reference.compress(text, target_ratio=ratio).compressed
        assert reference._inference_failures == 0
        assert engine.compress(text, "", ratio) == wanted
        changed += wanted != text
    assert changed > 16


@pytest.mark.parametrize("ratio", [None, 0.4])
def test_batch_gives_same_results_as_single_texts(
    engine: KompressEngine, ratio: float | None
) -> None:
    texts = _texts()
    alone = [engine.compress(text, "", ratio) for text in texts]
    with engine.collect():
        for text in texts:
            engine.compress(text, "", ratio)
    lengths = engine.score()
    assert len(lengths) > len(texts)
    assert max(lengths) <= MAX_TOKENS
    passes = engine.scorer.passes  # type: ignore[attr-defined]
    assert [engine.compress(text, "", ratio) for text in texts] == alone
    assert engine.scorer.passes == passes, "the second pass ran the model"  # type: ignore[attr-defined]
    engine.forget()
    assert not engine._known
    assert not engine._encodings


def test_failing_text_does_not_fail_its_batch(engine: KompressEngine) -> None:
    good, bad = prose("good"), prose(POISON)
    alone = engine.compress(good, "", None)
    for _ in range(5):  # headroom's own compressor is disabled after three
        with engine.collect():
            for text in (good, bad):
                engine.compress(text, "", None)
        engine.score()
        with pytest.raises(Exception, match=r"(?i)gather|indices|bounds"):
            engine.compress(bad, "", None)
        assert engine.compress(good, "", None) == alone
        engine.forget()


def test_engine_raises_the_models_error(engine: KompressEngine) -> None:
    with pytest.raises(Exception, match=r"(?i)gather|indices|bounds"):
        engine.kept(prose(POISON), "", None)


def test_kompress_seam_of_headroom_is_unchanged() -> None:
    assert isinstance(upstream._kompress_cache, dict)
    assert upstream._KOMPRESS_MAX_TOKENS == MAX_TOKENS


@pytest.mark.parametrize(
    ("lengths", "budget"), [([5, 300, 7, 512, 40] * 9, 2048), ([512], 512), ([9, 9, 9], 512)]
)
def test_passes_keep_budget_and_lose_no_row(lengths: list[int], budget: int) -> None:
    parts = list(batches(lengths, budget))
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        cost = max(lengths[i] for i in part) * (len(part) + 1)
        assert len(part) == 1 or cost <= budget


def test_falls_back_to_text_crusher_without_usable_model(model: Path, tmp_path: Path) -> None:
    broken = build_model(tmp_path / "broken")
    (broken / "onnx/kompress-fp32.onnx").write_bytes(b"not a graph")
    foreign = foreign_model(tmp_path / "foreign")
    words = build_model(tmp_path / "words")
    (words / "tokenizer.json").write_text("{}")
    for directory, reason in [
        (tmp_path / "nowhere", "no model directory"),
        (tmp_path, "no graph in"),
        (broken, "does not load"),
        (foreign, "another contract"),
        (words, "unreadable tokenizer"),
    ]:
        chosen = text_engine("gpu", Settings(model_dir=directory))
        assert chosen is not None
        assert chosen.engine.name == chosen.status.engine == "text_crusher"
        assert reason in chosen.status.reason
    good = text_engine("gpu", Settings(model_dir=model))
    assert good is not None
    assert good.status[:3] == ("kompress", "cpu", "kompress-fp32.onnx")


def test_skips_graph_that_does_not_load(tmp_path: Path) -> None:
    both = build_model(tmp_path)
    (both / "onnx/kompress-int8-wo.onnx").write_bytes(b"cut off")
    session, _ = choose(in_directory(both), threads=1, batch_tokens=2048)
    assert session.path.name == "kompress-fp32.onnx"


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")
def test_falls_back_to_cpu_when_cuda_fails(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, onnxruntime-gpu lists CUDA but falls back to CPU."""
    real = ort.get_available_providers()
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", *real])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    session, reason = choose(in_directory(model), threads=1, batch_tokens=2048)
    assert session.provider == CPU
    assert "fell back" in reason


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The session's clock; only the tests advance it."""
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.perf_counter", lambda: found.now)
    return found


def _session(model: Path, batch_tokens: int = 16_384) -> ModelSession:
    path = model / "onnx/kompress-fp32.onnx"
    return ModelSession(path, CPU, threads=1, batch_tokens=batch_tokens)


def test_batch_size_follows_measured_model_speed(
    model: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(model)
    assert session.scoring_tokens == 16_384  # before any measurement
    seconds_a_row, run = 0.5, session._run

    def slowly(ids: Any, mask: Any) -> Any:
        clock.now += seconds_a_row * len(ids)
        return run(ids, mask)

    monkeypatch.setattr(session, "_run", slowly)
    session.scores([(1, 2, 3, 4) * 50] * 4)
    assert session.scoring_tokens == 100  # 400 tokens per second, for 0.25 s
    seconds_a_row = 0.001
    for _ in range(20):
        session.scores([(1, 2, 3, 4) * 50] * 4)
    assert session.scoring_tokens == 16_384


def test_cpu_pass_has_limited_width(model: Path) -> None:
    session = _session(model)
    session.scores([(1, 2) * 256] * 8)
    assert session.passes == 8
    session.scores([(1, 2)] * 8)
    assert session.passes == 9
    assert _session(model, 512).pass_tokens == 512


def test_tries_the_widest_pass_at_start(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with too little memory fails at start, with a reason."""
    monkeypatch.setattr("workers.engines.model_session._MOST_TOKENS", {})
    widths, forward, full = [], ModelSession.forward, False

    def noted(self: ModelSession, rows: Any) -> Any:
        widths.append(len(rows) * max(map(len, rows)))
        if full and widths[-1] > 8_000:
            raise MemoryError
        return forward(self, rows)

    monkeypatch.setattr(ModelSession, "forward", noted)
    session, _ = choose(in_directory(model), threads=1, batch_tokens=16_384)
    wide = len(widths)
    session.scores([(1, 2) * 256] * 40)
    assert max(widths[wide:]) == max(widths[:wide])
    full = True
    with pytest.raises(ModelError, match=r"16384 tokens a pass .* does not run: MemoryError"):
        choose(in_directory(model), threads=1, batch_tokens=16_384)


def test_failing_model_is_broken_but_failing_text_not(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, good = _session(model), (1, 2, 3)
    bad = (1, 10_000_000)
    failed, scores = session.scores([bad, good])
    assert isinstance(failed, Exception)
    assert isinstance(scores, list)
    assert not session.broken

    def lost(ids: Any, mask: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(session, "_run", lost)
    assert all(isinstance(found, RuntimeError) for found in session.scores([good, good]))
    assert session.broken


def test_padding_changes_no_score(model: Path) -> None:
    session = _session(model)
    rows: list[Row] = list(PROBE)
    for row, scores in zip(rows, session.forward(rows), strict=True):
        assert scores == pytest.approx(session.forward([row])[0], abs=1e-6)


def test_tokenizer_agrees_with_transformers(model: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    ours = Tokenizer(model / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"))
    options: dict[str, Any] = {"is_split_into_words": True, "truncation": True, "max_length": 512}
    for text in (prose(), URLS):
        words = text.split()[:350]
        wanted = theirs(words, **options)
        assert ours(words)["input_ids"][0] == wanted["input_ids"]
        assert ours(words).word_ids() == wanted.word_ids()


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert threads(Settings()) == 8
    assert threads(Settings(gpu_workers=3)) == 2
    assert threads(Settings(gpu_workers=20)) == 1
    assert threads(Settings(gpu_workers=3, engine_threads=5)) == 5
