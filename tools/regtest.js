// A Bitcoin node of regtest in this process, whose blocks are made here, and a tower's user: what the players of towers share.
'use strict';
const crypto = require('crypto');
const net = require('net');
// The node keeps its blocks in memory; the database that it would keep them in otherwise, in C++, is not built.
const Module = require('module');
const load = Module._load;
Module._load = function (name, ...more) {
  return name === 'leveldown' ? {} : load.call(this, name, ...more);
};

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest();
const fail = (what) => { throw new Error(what); };
// Waits until something is so, a minute at most; answers the seconds that it took.
const until = async (what, isSo) => {
  const began = Date.now();
  while (!await isSo()) {
    if (Date.now() - began > 60000) fail(`it never came to be: ${what}`);
    await sleep(20);
  }
  return ((Date.now() - began) / 1000).toFixed(2);
};
const freePort = () => new Promise((done) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const {port} = server.address();
    server.close(() => done(port));
  });
});
const locator = (breach) => breach.hash().subarray(0, 16);

// What is found in a folder in which npm has installed it.
module.exports = (installed) => {
  const from = (name) => require(require.resolve(name, {paths: [installed]}));
  const bcoin = from('bcoin');
  const secp256k1 = new (from('elliptic').ec)('secp256k1');

  // A node that answers JSON-RPC to `bitcoinrpc:secret` at a port, and transactions on it.
  const startNode = async () => {
    const httpPort = await freePort();
    const node = new bcoin.FullNode({network: 'regtest', memory: true, listen: false, httpPort, apiKey: 'secret', workers: false, logLevel: 'none'});
    await node.open();
    await node.connect();
    const owner = bcoin.KeyRing.generate('regtest');
    const coinbases = [];
    const mine = async (count = 1, takes = true, on = null) => {
      node.miner.mempool = takes ? node.mempool : null;
      let tip = on;
      for (let n = 0; n < count; n++) {
        const block = await node.miner.mineBlock(tip, owner.getAddress());
        // A side branch is kept until it has more work.
        tip = await node.chain.add(block) || fail('a block was refused');
        coinbases.push(block.txs[0]);
      }
    };
    const height = () => node.chain.tip.height;
    const isWaiting = (tx) => node.mempool.hasEntry(tx.hash('hex'));
    const spend = (tx, index) => {
      const coin = bcoin.Coin.fromTX(tx, index, -1);
      const spending = new bcoin.MTX();
      spending.addCoin(coin);
      spending.addOutput(owner.getAddress(), coin.value - 10000);
      spending.sign(owner);
      return spending.toTX();
    };
    // A breach, which spends the oldest coin that is left, and its penalty.
    const channel = () => {
      const breach = spend(coinbases.shift(), 0);
      return {breach, penalty: spend(breach, 0)};
    };
    const publish = async (tx) => {
      await node.mempool.addTX(tx);
      isWaiting(tx) || fail('the breach is refused');
    };
    const isIn = async (tx) => {
      for (let at = height(); at > height() - 130 && at >= 0; at--) {
        const block = await node.chain.getBlock(await node.chain.getHash(at));
        if (block.txs.some((one) => one.txid() === tx.txid())) return true;
      }
      return false;
    };
    return {node, httpPort, mine, height, isWaiting, channel, publish, isIn};
  };

  const ALPHABET = 'ybndrfg8ejkmcpqxot1uwisza345h769';
  const zbase32 = (bytes) => {
    let bits = '';
    for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
    return bits.match(/.{1,5}/g).map((five) => ALPHABET[parseInt(five.padEnd(5, '0'), 2)]).join('');
  };
  const digest = (message) => sha256(sha256(Buffer.concat([Buffer.from('Lightning Signed Message:'), message])));
  // Who signed a message.
  const signer = (message, signature) => {
    const bits = [...signature].map((letter) => ALPHABET.indexOf(letter).toString(2).padStart(5, '0')).join('');
    const bytes = Buffer.from(bits.match(/.{8}/g).map((eight) => parseInt(eight, 2)));
    const [r, s] = [bytes.subarray(1, 33), bytes.subarray(33, 65)];
    return secp256k1.recoverPubKey(digest(message), {r, s}, bytes[0] - 31).encode('hex', true);
  };

  // A user of towers: what he asks them.
  const user = (byte) => {
    const key = secp256k1.keyFromPrivate(Buffer.alloc(32, byte));
    const sign = (message) => {
      const {r, s, recoveryParam} = key.sign(digest(Buffer.from(message)), {canonical: true});
      return zbase32(Buffer.concat([Buffer.from([31 + recoveryParam]), r.toArrayLike(Buffer, 'be', 32), s.toArrayLike(Buffer, 'be', 32)]));
    };
    const seal = ({breach, penalty}) => {
      const cipher = crypto.createCipheriv('chacha20-poly1305', sha256(breach.hash()), Buffer.alloc(12), {authTagLength: 16});
      return Buffer.concat([cipher.update(penalty.toRaw()), cipher.final(), cipher.getAuthTag()]);
    };
    const appointment = (channel, sealed = seal(channel), delay = 42) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(delay);
      const appointment = {locator: locator(channel.breach).toString('hex'), encrypted_blob: sealed.toString('hex'), to_self_delay: delay};
      return {appointment, signature: sign(Buffer.concat([locator(channel.breach), sealed, bytes]))};
    };
    const get = ({breach}) => {
      const hex = locator(breach).toString('hex');
      return {locator: hex, signature: sign(`get appointment ${hex}`)};
    };
    const info = () => ({signature: sign('get subscription info')});
    return {id: key.getPublic(true, 'hex'), sign, appointment, get, info};
  };

  return {startNode, user, signer, sleep, sha256, fail, until, freePort};
};
