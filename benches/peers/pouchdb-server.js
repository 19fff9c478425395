// A server of PouchDB databases over LevelDB, as `pouchdb-server` is one. Usage: node pouchdb-server.js DIR
// Prints the port that it listens on.
const express = require('express');
const PouchDB = require('pouchdb');

const dir = process.argv[2];
const server = express();
const databases = PouchDB.defaults({ prefix: `${dir}/` });
const options = { mode: 'minimumForPouchDB', logPath: `${dir}/log.txt`, configPath: `${dir}/config.json` };
server.use('/', require('express-pouchdb')(databases, options));
const listening = server.listen(0, '127.0.0.1', () => console.log(listening.address().port));
