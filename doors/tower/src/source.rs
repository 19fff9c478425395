//! Where blocks come from and answers go: a Bitcoin node, or this server's own timelines.

use crate::block_processor::BlockProcessor;
use crate::feed::{Block, Header, Verdict};
use crate::rpc::RpcError;
use crate::timelines::Timelines;
use crate::transaction::Txid;

pub(crate) enum Source {
    Bitcoind(BlockProcessor),
    Timelines(Timelines),
}

impl Source {
    pub(crate) async fn get_best_block_hash(&self) -> Result<[u8; 32], RpcError> {
        match self {
            Self::Bitcoind(node) => node.get_best_block_hash().await,
            Self::Timelines(timelines) => timelines.best().await,
        }
    }

    pub(crate) async fn get_header(&self, of: &[u8; 32]) -> Result<Header, RpcError> {
        match self {
            Self::Bitcoind(node) => node.get_header(of).await,
            Self::Timelines(timelines) => timelines.header(of).await,
        }
    }

    pub(crate) async fn get_block(&self, of: &[u8; 32]) -> Result<Block, RpcError> {
        match self {
            Self::Bitcoind(node) => node.get_block(of).await,
            Self::Timelines(timelines) => timelines.get(of).await,
        }
    }

    pub(crate) async fn send_transaction(&self, raw: &[u8]) -> Result<Verdict, RpcError> {
        match self {
            Self::Bitcoind(node) => node.send_transaction(raw).await,
            Self::Timelines(timelines) => timelines.send(raw).await,
        }
    }

    /// The bytes of a breach that a reorganisation took out, which timelines know none of.
    pub(crate) async fn get_transaction(
        &self,
        txid: &Txid,
        once_in: Option<[u8; 32]>,
    ) -> Result<Option<Vec<u8>>, RpcError> {
        match self {
            Self::Bitcoind(node) => node.get_transaction(txid, once_in).await,
            Self::Timelines(_) => Ok(None),
        }
    }
}
