//! The SA of the last packet: consecutive packets of one SA pay for finding it once.

use sa_table::Ref;

use super::Sa;
use crate::counters::SaCounters;

/// The SA that the last packet had, by what it was found with.
#[derive(Debug)]
pub(crate) struct Cached<'a, K>(Option<Current<'a, K>>);

/// An SA, and what it has done since it became that of the last packet.
#[derive(Debug)]
pub(crate) struct Current<'a, K> {
    key: K,
    pub sa: Ref<'a, Sa>,
    /// Added to those of the SA when this is dropped.
    pub counters: SaCounters,
}

impl<K> Drop for Current<'_, K> {
    fn drop(&mut self) {
        self.sa.tally.add(&self.counters);
    }
}

impl<K> Default for Cached<'_, K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a, K: PartialEq> Cached<'a, K> {
    /// The SA of this key: that of the last packet, or looked up.
    #[inline]
    pub(crate) fn find<E>(
        &mut self,
        key: K,
        look_up: impl FnOnce(&K) -> Result<Ref<'a, Sa>, E>,
    ) -> Result<&mut Current<'a, K>, E> {
        let found = match self.0.take() {
            Some(current) if current.key == key => current,
            _ => Current {
                sa: look_up(&key)?,
                key,
                counters: SaCounters::default(),
            },
        };
        Ok(self.0.insert(found))
    }
}
