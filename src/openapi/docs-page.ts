import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { VERSION } from '../version.js';

/** Of Swagger UI's package only what the page loads; its own page would ask for a document of someone else. */
const PACKAGE_FILES: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};
const FOLDER = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));

/** The version in the addresses lets browsers keep the files and still get those of a new version. */
const fileAddress = (name: string) => `/docs/${name}?v=${VERSION}`;

export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TelemetryFlow API</title>
<link rel="icon" type="image/png" href="${fileAddress('favicon-32x32.png')}">
<link rel="stylesheet" href="${fileAddress('swagger-ui.css')}">
</head>
<body>
<div id="swagger-ui"></div>
<script src="${fileAddress('swagger-ui-bundle.js')}"></script>
<script src="${fileAddress('start.js')}"></script>
</body>
</html>
`;

/** A file and not part of the page: the page allows no script of its own text. */
const START = `SwaggerUIBundle({
  url: '/docs-json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  validatorUrl: null,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  showExtensions: true,
  presets: [SwaggerUIBundle.presets.apis],
});
`;

/** What the page needs: nothing from elsewhere, no text of its own that runs, in no frame. */
export const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const loaded = new Map<string, Buffer>();

/** A file of the page; undefined when it has no such file. */
export async function docsFile(name: string): Promise<{ type: string; body: Buffer } | undefined> {
  if (name === 'start.js') return { type: PACKAGE_FILES['swagger-ui-bundle.js'], body: Buffer.from(START) };
  if (!Object.hasOwn(PACKAGE_FILES, name)) return undefined;
  const body = loaded.get(name) ?? (await readFile(join(FOLDER, name)));
  loaded.set(name, body);
  return { type: PACKAGE_FILES[name], body };
}
