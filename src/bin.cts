#!/usr/bin/env node
// The command's first file, and CommonJS, because both of these must come before anything else runs.
const { statSync } = require('node:fs') as typeof import('node:fs');
const { join } = require('node:path') as typeof import('node:path');
const { setFlagsFromString } = require('node:v8') as typeof import('node:v8');

// Before libuv starts its thread pool: ES modules are read with that very pool. Each statement of the embedded engine
// holds one of its threads, four are too few beside fdatasync and gunzip.
process.env.UV_THREADPOOL_SIZE ??= '16';

// V8 looks through its whole heap again when it has grown to 2.5 times what lived last time, network buffers included. By
// its own reckoning that is far earlier here, and HTTP/2's buffers made it look 11 times for a million log records
// (docs/decisions/body-memory.md). They die young, so memory does not grow for it.
setFlagsFromString('--heap-growing-percent=150');

const modifiedAt = (...path: string[]) =>
  statSync(join(__dirname, '..', ...path), { throwIfNoEntry: false })?.mtimeMs ?? 0;

// In a few files it starts sooner (docs/decisions/start.md), unless they are not there or older than what was compiled.
const isBundled = modifiedAt('program', 'cli.js') > modifiedAt('.tsbuildinfo');
void import(isBundled ? join(__dirname, '..', 'program', 'cli.js') : './cli.js');
