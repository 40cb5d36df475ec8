import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const OUT = "../src/rotoscope/web/playground";
const RECORD = "build.json";
/** Everything the build depends on; tests/browser/test_playground.py has the same list. */
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "public", "src"];

/** Every file below a path, or the path itself if it is a file. */
function filesBelow(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesBelow(join(path, name)));
}

/** What the page has of others keeps its licence beside it. */
function licensed(): Plugin {
  return {
    name: "licensed",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "preact.LICENSE", source: readFileSync("node_modules/preact/LICENSE", "utf8") });
    },
  };
}

const sha256 = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

/** Writes which sources gave which files, so that a test notices when nobody built them anew. */
function recorded(): Plugin {
  const hashes = (files: string[], strip = "") =>
    Object.fromEntries(files.sort().map((file) => [file.slice(strip.length), sha256(file)]));
  return {
    name: "recorded",
    closeBundle() {
      const record = { sources: hashes(SOURCES.flatMap(filesBelow)), files: hashes(filesBelow(OUT), `${OUT}/`) };
      writeFileSync(join(OUT, RECORD), `${JSON.stringify(record, null, 1)}\n`);
    },
  };
}

export default defineConfig({
  base: "./",
  experimental: { renderBuiltUrl: (name) => `playground/${name}` },
  plugins: [licensed(), recorded()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/v1": "http://127.0.0.1:8000", "/files": "http://127.0.0.1:8000" } },
  build: {
    outDir: OUT,
    emptyOutDir: true,
    assetsDir: "",
    modulePreload: false,
    target: "es2022",
    rolldownOptions: {
      output: { entryFileNames: "app.js", assetFileNames: "app[extname]", codeSplitting: false },
    },
  },
});
