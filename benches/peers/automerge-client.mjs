// A client of automerge-repo over a WebSocket. Usage: node automerge-client.mjs DIR
// Commands, as JSON:
//   {"put": [DOCUMENT, ...]}   a new revision of each
//   {"sync": URL}              connects, and waits until both sides have the same heads of all documents
//   {"flush": true}            disconnects, and waits until all is written to files
import * as Automerge from '@automerge/automerge';
import { WebSocketClientAdapter } from '@automerge/automerge-repo-network-websocket';
import { answer, open, put } from './automerge-documents.mjs';

const repo = open(process.argv[2], 'client');
const handles = new Map();
let connection;

function sync(url) {
  connection = new WebSocketClientAdapter(url);
  const waiting = new Map([...handles.values()].map((handle) => [handle.documentId, handle]));
  const theirs = new Map();
  return new Promise((done) => {
    const look = ({ handle }) => {
      const heads = theirs.get(handle.documentId);
      if (!heads || Automerge.getHeads(handle.doc()).sort().join() !== heads) return;
      handle.off('change', look);
      waiting.delete(handle.documentId);
      if (waiting.size === 0) done();
    };
    for (const handle of waiting.values()) handle.on('change', look);
    // Each message of the server begins with the heads that it has.
    connection.on('message', (message) => {
      const handle = waiting.get(message.documentId);
      if (!handle || message.type !== 'sync') return;
      theirs.set(handle.documentId, Automerge.decodeSyncMessage(message.data).heads.sort().join());
      // Another listener takes what the message brings.
      setImmediate(look, { handle });
    });
    repo.networkSubsystem.addNetworkAdapter(connection);
  });
}

async function flush() {
  repo.networkSubsystem.removeNetworkAdapter(connection);
  await repo.flush();
}

answer((command) => {
  if (command.put) return put(repo, handles, command.put);
  return command.sync ? sync(command.sync) : flush();
});
