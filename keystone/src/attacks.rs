//! What was tried against keystones, what stops it, and which test shows it. Documentation only.
//!
//! # Stopped by strict validation
//!
//! | attack | rule that refuses it |
//! |---|---|
//! | a frame without a proof, or with two | `proofs` |
//! | a proof without solutions | `no_solutions` |
//! | solutions of several pools, of an unknown pool, of another type | `pools_mixed`, `pool_unknown`, `solution_type` |
//! | one solution twice, too many, too few, in another order | `solution_repeated`, `selection` |
//! | a target too short to bind, so that fewer solutions would do | `selection` |
//! | a solution that does not hash to its challenge | `solution_wrong` |
//! | a claim without verb or target, or another than expected | `claim_incomplete`, `claim_unexpected` |
//! | a demand dropped, exchanged, of no challenge; recorded but not solved | `demand`; `selection` |
//! | a verb that the pool does not allow | `verb` |
//! | another n, past, timeline, ib; content that does not hash to its gib | `n`, `past`, `tjp`, `ib`, `wrong_gib` |
//! | spent challenges kept or brought back, pools emptied, resized, exchanged | `next_pool`, `spent`, `other_pool` |
//! | a genesis with unreadable or repeated pools | `pools`, `pool_repeated` |
//! | a frame after a revocation; a revocation without proof, or stripped of what says so | `revoked`, `revocation` |
//!
//! The tests in `tests/rules.rs` break each rule alone; those in `tests/weaknesses.rs` re-seal every case that the
//! original accepts and show its refusal by name.
//!
//! # What `hash-reveal-v1` cannot stop
//!
//! A revealed solution proves "I know x", not "I signed M". Whoever sees a frame before the verifier does can
//!
//! * **re-aim it (W2, W3)**: put the same solutions on another claim. Binding characters make the other target share a
//!   few leading digits, which can be ground offline. Tests: `a_seen_frame_can_be_reaimed`,
//!   `binding_characters_can_be_ground`.
//! * **take over the pool (rest of W4)**: keep claim and solutions, and put challenges of his own where the signed pool is
//!   topped up. Test: `topped_up_challenges_can_be_exchanged`.
//!
//! A verifier that has the real frame already is not fooled: the other one comes second on its past, and as it solves
//! nothing new ([`crate::Chain::reveals_new`]) it is not even taken as evidence of a fork. A verifier that has **not** is:
//! the frame was held back from it, or it is another server that the identity has not synced with since. There whoever
//! can read the identity's newest frames elsewhere can act as the identity. The verifier's expected target, the audience
//! in the session's genesis and one-time demands narrow it only in that a session is good for one audience. A strategy
//! that binds claim and next frame is meant to replace this one; [`crate::strategy::Strategy`] gives it both.
