#!/usr/bin/env node
// The command's first file, and CommonJS, because both of these must come before anything else runs.
const { setFlagsFromString } = require('node:v8') as typeof import('node:v8');

// Before libuv starts its thread pool: ES modules are read with that very pool. Each statement of the embedded engine
// holds one of its threads, four are too few beside fdatasync and gunzip.
process.env.UV_THREADPOOL_SIZE ??= '16';

// V8 looks through its whole heap again when it has grown to 2.5 times what lived last time, network buffers included. By
// its own reckoning that is far earlier here, and HTTP/2's buffers made it look 11 times for a million log records
// (docs/decisions/body-memory.md). They die young, so memory does not grow for it.
setFlagsFromString('--heap-growing-percent=150');

void import('./cli.js');
