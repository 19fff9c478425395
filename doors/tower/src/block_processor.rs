//! What a tower asks a Bitcoin node: blocks, and to take transactions. It needs no index of transactions there.

use crate::feed::{Block, BlockId, Header, Verdict};
use crate::rpc::{NodeAddress, Rpc, RpcError};
use crate::transaction::Txid;
use serde_json::{Value, json};

/// What the node's codes say of a transaction.
const NOT_DECODABLE: i64 = -22;
const MISSING_OR_SPENT: i64 = -25;
const REFUSED: i64 = -26;
const IN_CHAIN: i64 = -27;

pub(crate) struct BlockProcessor {
    rpc: Rpc,
}

impl BlockProcessor {
    pub(crate) fn new(address: NodeAddress) -> Self {
        Self { rpc: Rpc::new(address) }
    }

    pub(crate) async fn get_best_block_hash(&self) -> Result<[u8; 32], RpcError> {
        hash(&self.rpc.call("getbestblockhash", json!([])).await?)
    }

    pub(crate) async fn get_header(&self, of: &[u8; 32]) -> Result<Header, RpcError> {
        let answer = self.rpc.call("getblockheader", json!([shown(of), true])).await?;
        header(of, &answer)
    }

    pub(crate) async fn get_block(&self, of: &[u8; 32]) -> Result<Block, RpcError> {
        let answer = self.rpc.call("getblock", json!([shown(of), 1])).await?;
        let Header { id, parent } = header(of, &answer)?;
        let txids = answer.get("tx").and_then(Value::as_array).ok_or_else(|| lacks("tx"))?;
        let txid = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| lacks("tx"));
        let txids = txids.iter().map(txid).collect::<Result<Vec<Txid>, _>>()?;
        Ok(Block { id, parent: parent.unwrap_or_default(), txids })
    }

    /// Gives the network a transaction.
    pub(crate) async fn send_transaction(&self, raw: &[u8]) -> Result<Verdict, RpcError> {
        match self.rpc.call("sendrawtransaction", json!([hex::encode(raw)])).await {
            Ok(_) => Ok(Verdict::Waiting),
            // Older nodes say so of what they have, but in no block.
            Err(RpcError::Refused { code: IN_CHAIN, message }) if message.contains("mempool") => Ok(Verdict::Waiting),
            Err(RpcError::Refused { code, message }) => {
                let verdict = match code {
                    IN_CHAIN => Verdict::InChain,
                    MISSING_OR_SPENT => Verdict::Missing,
                    REFUSED | NOT_DECODABLE => Verdict::Bad,
                    _ => Verdict::Unknown,
                };
                tracing::debug!(code, %message, ?verdict, "the Bitcoin node did not take a transaction");
                Ok(verdict)
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of a transaction that the node has among those that wait, or in the block `once_in`, which is no
    /// longer part of the chain.
    pub(crate) async fn get_transaction(
        &self,
        txid: &Txid,
        once_in: Option<[u8; 32]>,
    ) -> Result<Option<Vec<u8>>, RpcError> {
        let txid = txid.to_string();
        let mut asked = vec![json!([txid, false])];
        asked.extend(once_in.map(|block| json!([txid, false, shown(&block)])));
        for parameters in asked {
            match self.rpc.call("getrawtransaction", parameters).await {
                Ok(answer) => return Ok(answer.as_str().and_then(|text| hex::decode(text).ok())),
                Err(RpcError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn lacks(what: &str) -> RpcError {
    RpcError::NoNode(format!("its answer has no {what} that can be read"))
}

fn hash(value: &Value) -> Result<[u8; 32], RpcError> {
    let mut bytes = [0; 32];
    let read = value.as_str().and_then(|text| hex::decode_to_slice(text, &mut bytes).ok());
    read.ok_or_else(|| lacks("hash"))?;
    Ok(bytes)
}

fn shown(hash: &[u8; 32]) -> String {
    hex::encode(hash)
}

fn header(hash_of: &[u8; 32], answer: &Value) -> Result<Header, RpcError> {
    let height = answer.get("height").and_then(Value::as_u64).and_then(|height| u32::try_from(height).ok());
    let height = height.ok_or_else(|| lacks("height"))?;
    let parent = match answer.get("previousblockhash") {
        None | Some(Value::Null) => None,
        Some(_) if height == 0 => None,
        Some(value) => Some(hash(value)?),
    };
    Ok(Header { id: BlockId { hash: *hash_of, height }, parent })
}
