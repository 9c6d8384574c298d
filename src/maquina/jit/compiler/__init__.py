"""From the syntax trees of native functions to LLVM text, in one pass and without an IR of ours.

Names that are not locals are compile-time constants; locals are registers or stack slots that
LLVM's sroa turns into registers; anything outside the subset is refused with file and line.

Reading order: `operands` (what an expression evaluates to, and how types are spelled in LLVM),
`body` (the text of one function being made: lines, labels, frames of inlined callees),
`lines` (line information), `sources` (syntax trees), `refusals` (what to write instead),
`static` (compile-time evaluation), `flow` (what assigns, what raises), `conversions`,
`expressions`, `conditions`, `memory`, `calls`, `statements`, `loops`, `traps`, the `lowering_*`
files (functions with an LLVM form of their own, collected in `intrinsics`), and `module`, where
it all comes together.
"""
