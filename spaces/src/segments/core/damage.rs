//! Damage on purpose.

use super::Core;
use crate::error::SpaceError;
use crate::segments::block::Block;
use crate::segments::log::BLOCK;
use crate::segments::staged::Place;
use ibgib::Addr;

impl Core {
    /// Adds a block with what `change` makes of a node's text and lets the index say that the node stands there, or nowhere.
    pub(in crate::segments) fn damage(
        &self,
        addr: &Addr,
        change: impl FnOnce(String) -> Option<String>,
    ) -> Result<(), SpaceError> {
        let absent = || SpaceError::Missing { path: vec![addr.to_string()] };
        let key = addr.key().ok_or_else(absent)?;
        let (index, mut writer) = self.to_write()?;
        self.indexed(index, &mut writer, &mut self.staged(), |open, writer, _| {
            let place = open.place(&key)?.ok_or_else(absent)?;
            let text = self.text(place).map_err(|unread| unread.of(addr.as_str()))?;
            let place = match change(text) {
                None => None,
                Some(text) => {
                    let (payload, _) =
                        Block::write(&mut writer.packer, "", &[(key, &text)], None).ok_or(SpaceError::Closed)?;
                    Some(Place { block: self.append(writer, BLOCK, &payload)?, nth: 0 })
                }
            };
            writer.writes += 1;
            open.put(&key, place)
        })
    }
}
