"""The terms of a meta-gradient: how each is written, what it is, and where its code stands.

A trace holds the value of every term at every step, in the order in which they are computed. So the
first entry that is wrong is where a mistake was made, and what follows may only have inherited it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Trace: TypeAlias = dict[tuple[str, int], Any]
"""(term, step) -> array, in the order of computation."""


class Term(NamedTuple):
    """One term; ``axes`` has a letter per axis of its array.

    c: coordinate of θ, s: entry of the state (h, c), r: entry of (θ, h, c), p: entry of Φ,
    m: feature that the cell is fed.
    """

    what: str
    axes: str
    look: str


VALUES = ("start", "f", "g", "x", "x'", "Γ", "Π", "f_val", "∇f_val", "w_k")
BLOCKS = ("Γ_g", "Γ_h", "Γ_Φ", "Π_g", "Π_h", "Π_Φ")
STATEMENT_1 = ("carry", *BLOCKS, "∂g/∂θ", "G", "H", "∇_k")
BACKWARD = ("θ̄", "Φ̄", "ḡ", "h̄", "c̄", "(∂g/∂θ)ᵀ")
TOTALS = ("Σ_k ∇_k", "∇_Φ fields", "Σ_k Φ̄", "forward_mode", "adjoint")
MAML = ("MAML θ", "MAML θ̄")

TERMS = {
    "start": Term("(θ, h, c) before the step", "cr", "what the unroll starts from"),
    "f": Term("the loss f(θ; D_tr) before the step", "", "the objective's value, and D_tr"),
    "g": Term("g(θ; D_tr), eq. (3) or (6)", "c", "the objective's grad, or the estimator (6)"),
    "x": Term("the features that the cell is fed", "cm", "the preprocessing's features"),
    "x'": Term("the derivative of the features", "cm", "the preprocessing's derivative"),
    "Γ": Term("the update Δθ, eq. (3)", "c", "the cell's step"),
    "Π": Term("the new state (h, c), eq. (3)", "cs", "the cell's step"),
    "Γ_g": Term("∂Δθ/∂g", "c", "the cell's Jacobian block Γ_g"),
    "Γ_h": Term("∂Δθ/∂(h, c)", "cs", "the cell's Jacobian block Γ_h"),
    "Γ_Φ": Term("∂Δθ/∂Φ", "cp", "the cell's Jacobian block Γ_Φ"),
    "Π_g": Term("∂(h, c)/∂g", "cs", "the cell's Jacobian block Π_g"),
    "Π_h": Term("∂(h, c)⁺/∂(h, c)", "css", "the cell's Jacobian block Π_h"),
    "Π_Φ": Term("∂(h, c)/∂Φ", "csp", "the cell's Jacobian block Π_Φ"),
    "∂g/∂θ": Term(
        "the Hessian, or the Jacobian of (6)", "cc", "the objective's hvp, or the estimator's jvp"
    ),
    "carry": Term("(G, H) carried into the step", "crp", "the truncation, and G = H = 0 before"),
    "G": Term("∂θ/∂Φ, eq. (8)", "cp", "the sum (8): its blocks are right"),
    "H": Term("∂(h, c)/∂Φ, eq. (9)", "csp", "the sum (9): its blocks and G are right"),
    "f_val": Term("the loss f(θ; D_val) after the step", "", "the objective's value, and D_val"),
    "∇f_val": Term("∇f(θ; D_val) after the step", "c", "the objective's grad, on D_val"),
    "w_k": Term("the weight w_k of eq. (4)", "", "the weights"),
    "∇_k": Term("the step's part of ∇_Φ, w_k ∇f • G", "p", "the product (7)"),
    "Σ_k ∇_k": Term("∇_Φ by forward mode", "p", "the sum over steps (5): its parts are right"),
    "∇_Φ fields": Term(
        "∇_Φ as W_x, W_h, b, w_o, b_o", "p", "the order in which Φ is flattened and cut again"
    ),
    "θ̄": Term("the cotangent of θ after the step", "c", "what is passed back to θ"),
    "h̄": Term("the cotangent of h before the step", "cs", "the cell's vjp, its part for h"),
    "c̄": Term("the cotangent of c before the step", "cs", "the cell's vjp, its part for c"),
    "Φ̄": Term("the step's part of ∇_Φ by backpropagation", "p", "the cell's vjp, its part for Φ"),
    "ḡ": Term("the cotangent of g", "c", "the cell's vjp, its part for g"),
    "(∂g/∂θ)ᵀ": Term("the transpose of ∂g/∂θ", "cc", "the estimator's vjp"),
    "Σ_k Φ̄": Term("∇_Φ by backpropagation", "p", "the sum over steps: its parts are right"),
    "forward_mode": Term("∇_Φ from forward_mode()", "p", "the engine: all terms are right"),
    "adjoint": Term("∇_Φ from adjoint()", "p", "the engine: all terms are right"),
    "MAML θ": Term("θ after the step, eq. (2)", "c", "MAML's inner step"),
    "MAML θ̄": Term("MAML's gradient with respect to θ before the step", "c", "MAML's way back"),
    "∇_Φ": Term("∇_Φ", "p", "the function that returns ∇_Φ"),
}
