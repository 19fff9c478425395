//! What somebody is shown who reads without a connection.

use super::*;

#[tokio::test]
async fn a_program_is_shown_its_folder_and_what_stands_in_it_and_nothing_else() {
    let Scene { host, alice, bob, shared, private } = scene(Rights::Write).await;
    alice.state(&host, &invite(2, Some(&shared), Rights::Read, 0, HOUR)).await.unwrap();
    alice.state(&host, &invite(3, None, Rights::Read, 0, HOUR)).await.unwrap();
    // One that is over, and such as identities come in with.
    alice.state(&host, &invite(4, Some(&shared), Rights::Read, 0, -1)).await.unwrap();
    alice.state(&host, &invite(5, Some(&shared), Rights::Read, 1, HOUR)).await.unwrap();
    for secret in [None, Some(token(1)), Some(token(4)), Some(token(5)), Some(token(9)), Some(String::new())] {
        assert!(host.reader(secret.as_deref()).await.unwrap().is_none(), "{secret:?}");
    }
    let reader = host.reader(Some(&token(2))).await.unwrap().unwrap();
    assert!(reader.lasts().unwrap().as_millis() <= u128::try_from(HOUR).unwrap());

    let constant = |frame: Verified<IbGib>| {
        let is_constant =
            |addr: &Addr| addr.tjp_gib().is_none() && addr.gib() != "gib" && Some(addr) != frame.tjp().as_ref();
        let found = frame.targets().into_iter().find(is_constant);
        found.unwrap_or_else(|| panic!("{}", frame.to_json()))
    };
    let hers = alice.tip(&private).await;
    let ours = bob.tip(&shared).await;
    for addr in [ours.addr().clone(), shared.clone(), constant(ours.clone())] {
        assert!(host.is_shown(&reader, &addr).await.unwrap(), "{addr}");
    }
    let transcript = host.space().tips(Some(Kind::Saga)).await.unwrap().pop().unwrap();
    let nowhere = "note^".to_owned() + &"A".repeat(64);
    for addr in
        [hers.addr().clone(), private.clone(), constant(hers.clone()), transcript.addr, nowhere.parse().unwrap()]
    {
        assert!(!host.is_shown(&reader, &addr).await.unwrap(), "{addr}");
    }
    let all = host.space().tips(None).await.unwrap();
    let listed = |tips: Vec<Tip>| tips.into_iter().map(|tip| tip.tjp).collect::<Vec<_>>();
    assert_eq!(listed(host.shown(&reader, all.clone()).await.unwrap()), std::slice::from_ref(&shared));
    assert_eq!(listed(host.shown_tips(&reader, "folder").await.unwrap()), std::slice::from_ref(&shared));

    // One for everything is shown all data, and no more than that.
    let everything = host.reader(Some(&token(3))).await.unwrap().unwrap();
    assert!(host.is_shown(&everything, hers.addr()).await.unwrap());
    let shown = host.shown(&everything, all).await.unwrap();
    assert!(shown.len() == 2 && shown.iter().all(|tip| tip.kind == Kind::Living), "{shown:?}");

    // Nobody comes in with such a secret, and once it is revoked it is worth nothing.
    let carol = Device::new("carol").await;
    let refused = IdentityRefusal::NotGranted(carol.who.tjp.clone());
    assert_eq!(host.accept(&carol.who.tjp, &token(2)).await, Err(refused.into()));
    let who = hex::encode(Sha256::digest(token(2)));
    alice.state(&host, &Statement::Revoke { who }).await.unwrap();
    assert!(host.reader(Some(&token(2))).await.unwrap().is_none());
    assert!(host.reader(Some(&token(3))).await.unwrap().is_some());
}
