// Documents of automerge-repo in files. Shared by the client and the server.
import * as Automerge from '@automerge/automerge';
import { Repo, interpretAsDocumentId } from '@automerge/automerge-repo';
import { NodeFSStorageAdapter } from '@automerge/automerge-repo-storage-nodefs';
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

// A repository without a network yet, in a folder.
export const open = (folder, peerId) => new Repo({ peerId, storage: new NodeFSStorageAdapter(folder) });

// The same document has the same id on both sides.
const idOf = (name) => interpretAsDocumentId(createHash('sha256').update(name).digest().subarray(0, 16));

// A new revision of each document.
export async function put(repo, handles, revisions) {
  for (const { id, ...members } of revisions) {
    let handle = handles.get(id);
    if (!handle && repo.handles[idOf(id)]) {
      handle = await repo.find(idOf(id));
    } else if (!handle) {
      handle = repo.import(Automerge.save(Automerge.from(members)), { docId: idOf(id) });
      await handle.whenReady();
    }
    handles.set(id, handle);
    handle.change((document) => {
      for (const [name, value] of Object.entries(members)) {
        if (document[name] === value) continue;
        // What is changed of a text is found by automerge, so that both sides' changes are merged.
        if (typeof value === 'string') Automerge.updateText(document, [name], value);
        else document[name] = value;
      }
    });
  }
  await repo.flush();
}

// Answers each line of the input, a command as JSON, by a line: `ok` or what went wrong.
export async function answer(run) {
  for await (const line of createInterface({ input: process.stdin })) {
    let said = 'ok';
    try {
      await run(JSON.parse(line));
    } catch (error) {
      said = JSON.stringify(error.message || String(error));
    }
    console.log(said);
  }
  process.exit();
}
