"""The glossary has the terms that people search for, names what exists, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from undiffuse.core import registry

DOCS = Path(__file__).parents[1] / "docs"
ROWS = re.findall(
    r"^\| (?!term \|)([^|]+) \| ([^|]+) \|$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
)
TERMS = """
CFG, classifier-free guidance, negative prompt, VAE, latent, EMA, checkpoint, noise schedule, preconditioning,
prediction type, parameterization, DataLoader, mixed precision, gradient accumulation, fine-tuning, LoRA, inpainting,
outpainting, img2img, SDEdit, super-resolution, DDPM sampler, DDIM, DPM-Solver++, UniPC, Euler a, Karras sigmas,
score matching, flow matching, rectified flow, consistency model, FID, KID, IS, precision/recall, C2ST, TSTR, DCR, NFE,
ELBO, bits per dimension, tokenizer, D3PM, MDLM, classifier guidance, ControlNet, guidance scale, scheduler, seed
"""
NAMED = r"(sampler|schedule|grid|parameterization|objective|metric)s? ((?:`\w+`(?:, | and )?)+)"


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as MkDocs makes them."""
    headings = re.findall(r"^#+ (.+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_it_has_the_terms_that_people_search_for():
    found = {term for terms, _ in ROWS for term in terms.split(", ")}
    assert {" ".join(term.split()) for term in TERMS.split(",")} - found == set()


def test_every_term_stands_once_and_has_a_link_or_is_not_here():
    terms = [term.lower() for terms, _ in ROWS for term in terms.split(", ")]
    assert sorted(terms) == sorted(set(terms))
    assert [terms for terms, text in ROWS if "](" not in text and "not here" not in text] == []


def test_its_links_lead_to_headings_of_the_pages():
    links = re.findall(r"\]\(([^)#]+)#?([^)]*)\)", " ".join(text for _, text in ROWS))
    assert len(links) > 50
    assert [f"{page}#{anchor}" for page, anchor in links if anchor and anchor not in anchors(page)] == []
    assert [page for page, _ in links if not (DOCS / page).is_file()] == []


@pytest.mark.each("text", [text for _, text in ROWS if re.search(NAMED, text)])
def test_the_components_that_it_names_exist(text: str):
    for kind, names in re.findall(NAMED, text):
        for name in re.findall(r"`(\w+)`", names):
            assert registry.get(f"{kind}s", name)
