#!/usr/bin/env node
// The command's first file, and CommonJS, because it must run before libuv starts its thread pool: ES modules are read
// with that very pool. Each statement of the embedded engine holds one of its threads, four are too few beside
// fdatasync and gunzip.
process.env.UV_THREADPOOL_SIZE ??= '16';
void import('./cli.js');
