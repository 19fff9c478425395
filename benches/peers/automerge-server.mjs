// A server of automerge-repo over a WebSocket. Usage: node automerge-server.mjs DIR
// Prints the port that it listens on. Commands, as JSON:
//   {"put": [DOCUMENT, ...]}   a new revision of each
//   {"flush": true}            waits until all is written to files
import { WebSocketServerAdapter } from '@automerge/automerge-repo-network-websocket';
import { WebSocketServer } from 'ws';
import { answer, open, put } from './automerge-documents.mjs';

const repo = open(process.argv[2], 'server');
const handles = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, () => console.log(server.address().port));
repo.networkSubsystem.addNetworkAdapter(new WebSocketServerAdapter(server));
answer((command) => (command.put ? put(repo, handles, command.put) : repo.flush()));
