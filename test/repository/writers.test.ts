/** Two writers at once. */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { bytes, newRepository, platformOf, quickLinux, streamOf } from "./fixture.ts";
import { watched } from "./trouble.ts";

const FILE = bytes("f".repeat(5000));

/** Writes the same layer as the other, but with another splitstream, as another version of zstd would. */
function write(repository: Repository, who: string): { layer: Uint8Array; config: Uint8Array } {
  const writer = repository.createObject();
  writer.write(FILE);
  const file = writer.finish().digest;
  repository.storeObject(FILE);
  const layer = repository.writeStream("oci-layer-a", streamOf("sha256", [file], who), {
    existing: "keep",
  });
  const config = repository.writeStream("oci-config-a", streamOf("sha256", [layer]), {
    existing: "replace",
    ref: "oci/tag",
  });
  repository.writeImage(bytes("an image"), "tag");
  return { layer, config };
}

describe.each(["secure", "insecure"] as const)("%s", (kind) => {
  test("between any two calls of a writer there may be all the work of another", () => {
    let calls = 0;
    for (let nth = 1; ; nth++) {
      using fixture = newRepository(kind);
      let count = 0;
      let theirs: ReturnType<typeof write> | undefined;
      const linux = watched(fixture.platform.linux, () => {
        count++;
        if (count !== nth) return;
        using other = fixture.open();
        theirs = write(other, "other");
      });
      let ours: ReturnType<typeof write>;
      {
        using repository = openRepository(fixture.path, { platform: platformOf(linux) });
        ours = write(repository, "one");
      }
      if (theirs === undefined) break;
      calls++;
      using repository = fixture.open();
      // Both have named the same layer in their configs, and it is the one that is linked.
      expect(toHex(ours.layer), `call ${nth}`).toBe(toHex(theirs.layer));
      expect(repository.streamObject("oci-layer-a")).toEqual(new Uint8Array(ours.layer));
      expect(toHex(ours.config)).toBe(toHex(theirs.config));
      expect(repository.readRef("streams", "oci/tag")).toBe("oci-config-a");
      expect(
        Buffer.from(repository.readObject(repository.readStream("oci-layer-a").objectRefs[0]!)),
      ).toEqual(Buffer.from(FILE));
      expect(readdirSync(fixture.path).sort()).toEqual([
        "images",
        "meta.json",
        "objects",
        "streams",
      ]);
    }
    expect(calls).toBeGreaterThan(40);
  });
});

test("processes that store the same objects do not disturb each other", async () => {
  using fixture = newRepository("insecure", { base: quickLinux });
  const program = new URL("./writer-process.ts", import.meta.url).pathname;
  const outputs = await Promise.all(
    [1, 7, 11].map(
      (step) =>
        new Promise<string>((resolve, reject) => {
          const child = spawn(process.execPath, [program, fixture.path, String(step)], {
            stdio: ["ignore", "pipe", "inherit"],
            env: { ...process.env, NODE_NO_WARNINGS: "1" },
          });
          let output = "";
          child.stdout.on("data", (chunk) => {
            output += chunk;
          });
          child.on("error", reject);
          child.on("close", (code) =>
            code === 0 ? resolve(output) : reject(new Error(`${code}`)),
          );
        }),
    ),
  );
  expect(new Set(outputs).size).toBe(1);
  using repository = fixture.open();
  const objects = readdirSync(join(fixture.path, "objects"), {
    recursive: true,
    withFileTypes: true,
  });
  const names = objects.filter((entry) => entry.isFile());
  expect(names.length).toBe(201);
  for (const { parentPath, name } of names) {
    const digest = Buffer.from(`${parentPath.slice(-2)}${name}`, "hex");
    repository.readObject(digest); // checks it
  }
});
