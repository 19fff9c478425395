//! JSON pointers (RFC 6901): `/data/items/0` names a place in a value.

/// The pointer to member `name` of what `pointer` points to.
///
/// ```
/// assert_eq!(ibgib::json::pointer::join("/data", "a/b~c"), "/data/a~1b~0c");
/// ```
pub fn join(pointer: &str, name: &str) -> String {
    let mut out = pointer.to_owned();
    push(&mut out, name);
    out
}

/// Leads a pointer on to member `name`.
pub fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// The names that a pointer leads through; `None` when the text does not begin with a slash. The empty pointer, which
/// means the whole value, has no names, and is `None`, too.
///
/// ```
/// use ibgib::json::pointer::names;
/// assert_eq!(names("/data/a~1b~0c"), Some(vec!["data".to_owned(), "a/b~c".to_owned()]));
/// assert_eq!(names("data"), None);
/// ```
pub fn names(pointer: &str) -> Option<Vec<String>> {
    let rest = pointer.strip_prefix('/')?;
    Some(rest.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect())
}
