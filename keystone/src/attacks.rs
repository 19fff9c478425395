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
//! A verifier that has the real frame already is not fooled: the other one comes second on its past. Neither is ever
//! evidence of a fork ([`crate::proves_fork`]), whichever came first, since the first may be the forgery. A verifier that
//! has **not** is fooled:
//! the frame was held back from it, or it is another server that the identity has not synced with since. There whoever
//! can read the identity's newest frames elsewhere can act as the identity. The verifier's expected target, the audience
//! in the session's genesis and one-time demands narrow it only in that a session is good for one audience. A strategy
//! that binds both, [`crate::strategy::lms`], stops all of this; it is what the engine makes, and servers take no new
//! identities of this one unless they are told to.
//!
//! # Stopped by `lms-v1`
//!
//! A signature answers for the claim, the demands and the whole next frame, pools included. Tests are in `tests/lms.rs`.
//!
//! | attack | what stops it | test |
//! |---|---|---|
//! | a seen proof on another target, verb, scope, audience, nonce | the claim is signed | `a_seen_proof_fits_no_other_claim` |
//! | a seen proof on another frame, details, past, identity; replayed | the frame is signed; spent leaves | `a_seen_proof_fits_no_other_frame`, `…_identity` |
//! | a frame meant for one peer shown to another | audience and nonce as expected | `only_the_peer_meant_takes_it` |
//! | somebody else's tree put into the pool | the next pool is signed | `a_pool_is_not_taken_over` |
//! | a demand dropped, added or answered with another leaf | demands are signed and compared | `what_was_demanded_is_signed`, `…_is_used_or_nothing` |
//! | a demand of a late leaf, to use the pool up | not answered | `what_was_demanded_is_used_or_nothing` |
//! | a second frame made of a first by what is not signed, so that its owner seems to have forked | a proof is written in one way only (`proof_form`) | `a_proof_is_written_in_one_way_only` |
//! | a revocation stripped or forged | it is signed, without the copy of the proof | `a_revocation_is_neither_stripped_nor_made_…` |
//! | any single member changed, dropped, doubled, moved | all of the above | `no_member_of_a_signed_frame_can_be_changed` |
//! | pools of another strategy put in | the owner's `manage` claim about the frame before, and only to one that binds | `an_identity_comes_over_…_and_not_back` |
//! | a leaf used twice, by a copy, a backup or a thief | cannot be prevented; two frames prove it | `a_leaf_that_signs_twice_gives_the_identity_away` |
//! | a tree kept on disk tampered with | its root is compared, and it is built anew | `a_tree_that_was_tampered_with_is_built_anew` |
//!
//! # What a space signs
//!
//! A space's keystone warrants trees, and those sign what is said to sessions ([`crate::Warrant`]). Tests are in
//! `tests/warrant.rs`, with both sides of a conversation in the saga crate's `tests/machines/signed.rs`, and with a server in
//! the peer crate's `tests/signed.rs`.
//!
//! | attack | what stops it | test |
//! |---|---|---|
//! | an answer forged, rewritten, or told beside another revision | the answer's context and the revision are signed | `a_middleman_who_rewrites_an_answer_…`, `a_signature_that_was_changed_…` |
//! | an answer repeated, of another turn, session or connection | the session and its last frame are signed | `a_signature_is_good_for_one_answer_only` |
//! | any one thing of any message changed, either way, a whole message exchanged for another one | all of the above; what is not signed makes a saga do less, no more | `nothing_that_is_signed_can_be_changed_…` in `tests/machines/mutations.rs` |
//! | signatures stripped, or an older version forced | who signs nothing is refused; the version is signed | `what_is_not_signed_is_not_believed` |
//! | another server in the place of one | the keystone that is known of the space | `a_server_that_says_it_is_the_same_space_without_its_keystone_…` |
//! | a tree of somebody else's, or another space's keystone | the warrant is signed, and the genesis names the space | `nobody_else_warrants_a_tree` |
//! | a store put back to an earlier state | receipts have a later revision | `a_server_that_was_put_back_…` in the command's `tests/receipts.rs` |
//! | a process killed, or several beside each other, use one leaf twice | a leaf is set aside durably; a tree's secret is nowhere but in memory | `servers_over_one_space_sign_side_by_side_…` |
//!
//! # Which key a server has
//!
//! Clients know a server by the key of its TLS, and a space's keystone signs which key follows which ([`crate::Succession`]). Tests
//! are in `tests/warrant.rs`, with somebody who stands between in the server crate's `tests/tls.rs`, and with processes in the
//! command's `tests/tls.rs`.
//!
//! | attack | what stops it | test |
//! |---|---|---|
//! | another key in the place of the known one | nothing leads to it; nothing is said that is not public before that is looked at | `nobody_who_stands_between_is_followed_…` |
//! | whoever stole the old key says which one follows | the space's keystone signs that, and no key of TLS | `nobody_else_says_which_key_a_server_has` |
//! | a succession forged, changed in any one thing, of another keystone or space | all of it is signed, with the space's id | `nobody_else_says_which_key_a_server_has` |
//! | the server's own succession, shown beside another key | the key that is shown has to be the one that is named | `nobody_who_stands_between_is_followed_…` |
//! | an old succession, which leads to a key that was stolen since | it names the keys that it follows, and its number is not above the one that was followed | `nobody_is_led_back_to_a_key_that_was_given_up` |
//! | what the keystone signed of a tree passed off as a succession | what is signed begins otherwise | `nobody_else_says_which_key_a_server_has` |
//! | an answer without end | lines and the whole have limits; the first line is looked at before anything else is read | `nobody_who_stands_between_is_followed_…` |
//! | a key that was stolen, shown to who was not led on yet | TLS does not stop it: he may read what he passes on, and answer for the space he cannot | `a_server_that_says_it_is_the_same_space_without_its_keystone_…` |
//!
//! # Answered by a revocation that waits
//!
//! Whoever has a copy of a device can sign on a state that its owner has left. A revocation that the owner left with a tower
//! ends the identity then ([`crate::waiting_revocation`]). Tests are in `tests/guard.rs`, and with a
//! server and processes in the command's `tests/guard.rs`.
//!
//! | attack | what stops it | test |
//! |---|---|---|
//! | a copy signs where the owner has signed | two frames on one past, and the revocation that waited for them | `a_revocation_that_waited_ends_an_identity_that_two_frames_follow` |
//! | the tower uses the revocation before its time, or as one of the two frames | it holds beside two others only, and is evidence of nothing | `whoever_keeps_it_can_do_nothing_with_it_before_its_time` |
//! | it is put on another state, or changed | claim and frame are signed | `it_is_good_for_its_own_state_only_and_for_nothing_else` |
//! | a stranger makes a second frame of one that he saw | it does not hold | `whoever_keeps_it_can_do_nothing_with_it_before_its_time` |
//! | a guard pool slipped in, or one that may sign something else | a `manage` claim about the frame before; the verbs are looked at | `the_owner_alone_opens_the_pool_and_makes_revocations` |
//!
//! The copy may open a guard pool, too, since it has the secret. What the owner left with a tower is about states of before.
//!
//! # Undone by a recovery
//!
//! Whoever has a device's secret acts as the identity until it is taken back ([`crate::recover`]). Tests are in
//! `tests/recovery.rs`, and with servers in the command's `tests/recovery.rs`.
//!
//! | attack | what undoes it | test |
//! |---|---|---|
//! | a thief signs, or revokes the identity | a recovery goes before every other frame on its past | `a_recovery_goes_before_every_other_frame_on_the_same_one` |
//! | a thief forks the identity | the branch that was taken back stands | `a_fork_is_lifted_at_every_server` |
//! | a recovery forged, re-aimed, with pools of the thief's | the whole frame is signed by a secret that the device does not have | `nobody_else_takes_it_back`, `no_member_of_a_recovery_can_be_changed_…` |
//! | the recovery secret stolen, too | cannot be undone: two recoveries end the identity | `of_several_recoveries_the_deepest_stands_and_two_on_one_frame_end_…` |
//!
//! A leaf that signs twice lets others forge with that leaf; that is why [`crate::strategy::lms::Reserved`] sets leaves
//! aside durably first. Whoever has the secret is the identity: nothing here helps against that.
