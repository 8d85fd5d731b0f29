/**
 * What skopeo is asked for: whether an image is signed as the policy requires, and images from places that only it (and
 * the libraries that it shares with podman) can read.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ImagePlatform, parseManifest } from "../../src/formats/oci.ts";
import { detectCompression, layerCompression } from "../decompress.ts";
import { openDirectory } from "./directory.ts";
import { isLoopback } from "./http.ts";
import { readStream } from "./layout.ts";
import { receiveManifest } from "./manifest-receiver.ts";
import type { Policy } from "./policy.ts";
import type { ForeignReference, Reference, StorageReference } from "./reference.ts";
import { TemporaryDirectory } from "./temporary.ts";
import { type ManifestBytes, sha256Digest, type Transport, withMethods } from "./transport.ts";

export interface SkopeoOptions {
  /** `undefined`: there is none on this machine. */
  readonly policy: Policy | undefined;
  readonly platform: ImagePlatform;
  /** `undefined`: as `registries.conf` says. */
  readonly tlsVerify?: boolean | undefined;
  readonly authfile?: string | undefined;
  /** `USER:PASSWORD` for the reference's registry. */
  readonly creds?: string | undefined;
}

/**
 * The manifest of an image that the policy accepts, byte for byte as it was checked.
 *
 * skopeo copies the image to a registry of ours that claims to have every blob: what remains is to find the manifest,
 * check its signatures and send it.
 */
export async function acceptedManifest(
  reference: Reference,
  options: SkopeoOptions,
): Promise<ManifestBytes> {
  const directory = new TemporaryDirectory();
  const password = randomBytes(24).toString("hex");
  const receiver = await receiveManifest(password);
  try {
    const authfile = join(directory.path, "receiver.json");
    writeAuthFile(authfile, receiver.registry, `cfsboot:${password}`);
    const command = [
      "skopeo",
      ...globalOptions(options),
      "copy",
      ...sourceOptions(reference, options, directory.path),
      "--preserve-digests", // what is sent must be what was signed
      "--remove-signatures", // they are checked, but have no place to go to
      `--dest-authfile=${authfile}`,
      "--dest-tls-verify=false",
      sourceName(reference),
      `docker://${receiver.registry}/${receiver.name}`,
    ];
    await runSkopeo(command, directory.closing);
    return receiver.manifest();
  } finally {
    await receiver.close();
    directory.close();
  }
}

/** Copies an image that only skopeo can read to a temporary directory, and opens it there. */
export async function openThroughSkopeo(
  reference: ForeignReference | StorageReference,
  options: SkopeoOptions,
): Promise<Transport> {
  const directory = new TemporaryDirectory();
  try {
    const path = join(directory.path, "image");
    const source = `dir:${path}`;
    // images of users live in a user namespace
    const rootless = reference.transport === "containers-storage" && process.getuid?.() !== 0;
    const command = [
      ...(rootless ? ["podman", "unshare"] : []),
      "skopeo",
      ...globalOptions(options),
      "copy",
      reference.source,
      source,
    ];
    await runSkopeo(command, directory.closing);
    const transport = await openDirectory({ transport: "dir", source, directory: path });
    const root = await withTrueMediaTypes(await transport.root(), path);
    return withMethods(transport, {
      root: async () => root,
      async close() {
        await transport.close();
        directory.close();
      },
    });
  } catch (error) {
    directory.close();
    throw error;
  }
}

/**
 * The manifest of a directory, whose layers' media types say how they are compressed: skopeo gives layers that were
 * compressed once without compression, but passes on what the manifest said.
 */
async function withTrueMediaTypes(root: ManifestBytes, directory: string): Promise<ManifestBytes> {
  const document = JSON.parse(Buffer.from(root.bytes).toString()) as { layers: object[] };
  const { layers } = parseManifest(root.bytes, "manifest");
  let changed = false;
  for (const [index, { mediaType, digest }] of layers.entries()) {
    const path = join(directory, digest.slice(digest.indexOf(":") + 1));
    const compression = detectCompression(await firstBytes(path));
    const stated = layerCompression(mediaType);
    if (stated === undefined || stated === compression) continue;
    changed = true;
    const plain = mediaType.replace(/[+.](?:gzip|zstd)$/, "");
    const mark = plain.startsWith("application/vnd.oci.") ? "+" : ".";
    const suffix = compression === "none" ? "" : mark + compression;
    document.layers[index] = { ...document.layers[index], mediaType: plain + suffix };
  }
  if (!changed) return root;
  const bytes = new Uint8Array(Buffer.from(JSON.stringify(document)));
  return { ...root, bytes, digest: sha256Digest(bytes) };
}

async function firstBytes(path: string): Promise<Uint8Array> {
  for await (const chunk of readStream(path, undefined)) return chunk;
  return new Uint8Array();
}

function globalOptions({ policy, platform }: SkopeoOptions): string[] {
  return [
    policy === undefined ? "--insecure-policy" : `--policy=${policy.file}`,
    `--override-os=${platform.os}`,
    `--override-arch=${platform.architecture}`,
    ...(platform.variant === undefined ? [] : [`--override-variant=${platform.variant}`]),
  ];
}

function sourceOptions(
  reference: Reference,
  { tlsVerify, authfile, creds }: SkopeoOptions,
  directory: string,
): string[] {
  if (reference.transport !== "docker") return [];
  // this machine itself may speak HTTP: skopeo would not ask that way
  const verify = isLoopback(new URL(`http://${reference.registry}`).hostname) ? false : tlsVerify;
  const options = verify === undefined ? [] : [`--src-tls-verify=${verify}`];
  if (creds !== undefined) {
    // not as an argument, which everybody can see
    const file = join(directory, "source.json");
    writeAuthFile(file, reference.registry, creds);
    return [...options, `--src-authfile=${file}`];
  }
  return authfile === undefined ? options : [...options, `--src-authfile=${authfile}`];
}

function writeAuthFile(path: string, registry: string, creds: string): void {
  const auth = Buffer.from(creds).toString("base64");
  writeFileSync(path, JSON.stringify({ auths: { [registry]: { auth } } }), { mode: 0o600 });
}

/** skopeo takes either a tag or a digest; the digest is the one that decides. */
function sourceName(reference: Reference): string {
  if (reference.transport !== "docker") return reference.source;
  const { registry, repository, tag, digest } = reference;
  const which = digest === undefined ? `:${tag}` : `@${digest}`;
  return `docker://${registry}/${repository}${which}`;
}

/** How much of the end of what it says is kept, in characters. */
const MESSAGE_LIMIT = 4096;

async function runSkopeo(
  [command, ...args]: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(command!, args, { stdio: ["ignore", "ignore", "pipe"], signal });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-MESSAGE_LIMIT);
  });
  try {
    const status = await new Promise<number | string | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, signal) => resolve(code ?? signal));
    });
    if (status !== 0) throw new Error(lastWords(said) || `it ended with ${status}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      throw Object.assign(new Error(`${command} is not installed`), {
        hint: `install ${command}: it is needed for this image`,
      });
    throw new Error("skopeo copy", { cause: error });
  }
}

/** The message of its last log line, which says why it failed. */
function lastWords(said: string): string {
  const last = said.trim().split("\n").at(-1) ?? "";
  const quoted = /level=fatal msg=("(?:[^"\\]|\\.)*")/.exec(last)?.[1];
  if (quoted === undefined) return last;
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted; // Go's escapes are more than JSON's
  }
}
