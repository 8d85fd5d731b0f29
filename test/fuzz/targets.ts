/** All that reads what others wrote, each with good specimens of what it reads. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import zlib from "node:zlib";
import { fromBytes, fromText, toText } from "../../src/formats/bytestring.ts";
import { parseComposefsArguments, parseVolatile } from "../../src/formats/cmdline.ts";
import { toHex } from "../../src/formats/digest.ts";
import { formatDumpfile, parseDumpfile } from "../../src/formats/dumpfile.ts";
import { parseDumpfileC } from "../../src/formats/dumpfile-c.ts";
import { writeErofs } from "../../src/formats/erofs/index.ts";
import { backingPaths, dumpLinesC, listLines } from "../../src/formats/erofs/listing.ts";
import { erofsObjects } from "../../src/formats/erofs/objects.ts";
import { readErofs } from "../../src/formats/erofs/reader.ts";
import {
  parseFileContexts,
  parseSelinuxConfig,
  parseSubstitutions,
} from "../../src/formats/file-contexts.ts";
import { parseMetadata } from "../../src/formats/meta-json.ts";
import { parseMountOptions, splitEscaped, unescapeValue } from "../../src/formats/mount-options.ts";
import { isIndex, parseConfig, parseIndex, parseManifest } from "../../src/formats/oci.ts";
import { replaceLayers } from "../../src/formats/oci-rewrite.ts";
import { parseRegistriesConf } from "../../src/formats/registries-conf.ts";
import { parseSetupRootConf } from "../../src/formats/setup-root-conf.ts";
import { CONTENT_TYPES, parseSplitstream, type Zstd } from "../../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../../src/formats/splitstream-writer.ts";
import { parseStorageConf } from "../../src/formats/storage-conf.ts";
import { readEntries } from "../../src/formats/tar/entries.ts";
import { BLOCK_SIZE, TAR_HEADER } from "../../src/formats/tar/header.ts";
import { TarSplitReader } from "../../src/formats/tar-split.ts";
import {
  CHUNKED_ANNOTATIONS,
  parseChunkedAnnotations,
  parseChunkedToc,
} from "../../src/formats/zstd-chunked.ts";
import { mergeLayers } from "../../src/model/layers.ts";
import { Labels } from "../../src/model/selinux/labels.ts";
import { decompress } from "../../userspace/decompress.ts";
import { linux } from "../../userspace/linux.ts";
import { parseChallenges } from "../../userspace/oci/authorization.ts";
import { Store } from "../../userspace/oci/containers-storage/store.ts";
import { openDockerArchive } from "../../userspace/oci/docker-archive.ts";
import { openLayoutArchive } from "../../userspace/oci/layout.ts";
import { parsePolicy } from "../../userspace/oci/policy.ts";
import { parseReference } from "../../userspace/oci/reference.ts";
import { zstd } from "../../userspace/zstd.ts";
import { END, longName, member, pax, split } from "../formats/tar/archive.ts";
import { chunkedLayer } from "../oci/fixtures/chunked-layer.ts";
import { image, json, type TarFile, tar } from "../oci/fixtures/images.ts";
import { DEPLOYMENT_TARGETS } from "./deployment-targets.ts";

export interface Target {
  readonly name: string;
  readonly specimens: readonly Uint8Array[];
  /** What means something in the format. */
  readonly tokens?: readonly string[];
  /** What every message says about where the fault is. */
  readonly place: RegExp;
  /** Makes right again what would hide all other faults: checksums. */
  readonly repair?: (data: Buffer) => Buffer;
  /** Reads all of it. */
  readonly read: (data: Uint8Array) => unknown;
  /** How many mutations in a short run, if not the usual number. */
  readonly rounds?: number;
}

const latin1 = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
const utf8 = (text: string) => Uint8Array.from(Buffer.from(text));
const sha256 = (text: string) => Uint8Array.from(createHash("sha256").update(text).digest());
const DIGEST = `sha256:${toHex(sha256("x"))}`;

/** As files of text are read where only text will do. */
function textOf(data: Uint8Array): string {
  const text = toText(fromBytes(data));
  if (text === undefined) throw new Error("file: not UTF-8");
  return text;
}

// --- tar

const ARCHIVES = [
  Buffer.concat([
    member({ name: "usr/", type: "5" }),
    member({ name: "usr/small" }, "small"),
    pax({ path: "usr/".concat("p".repeat(120)), "SCHILY.xattr.user.a": "b", mtime: "1.5" }),
    member({ name: "large" }, "l".repeat(700)),
    longName("n".repeat(200)),
    member({ name: "short", type: "2", linkName: "target" }),
    member({ name: "device", type: "3", devMajor: 1, devMinor: 3 }),
    member({ name: "hard", type: "1", linkName: "usr/small" }),
    pax({ comment: "all" }, "g"),
    END,
  ]),
  tar([{ path: "etc/" }, { path: "etc/passwd", data: "root".repeat(30) }] satisfies TarFile[]),
];

/** Sums of header blocks, wherever one may be. */
function repairSums(data: Buffer): Buffer {
  const out = Buffer.from(data);
  const [start, size] = TAR_HEADER.checksum;
  for (let at = 0; at + BLOCK_SIZE <= out.length; at += BLOCK_SIZE) {
    const block = out.subarray(at, at + BLOCK_SIZE);
    if (!/^[0-7 ]{6}\0 $|^[0-7]{7,8}\0?$/.test(block.toString("latin1", start, start + size)))
      continue;
    block.fill(" ", start, start + size);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(sum.toString(8).padStart(size - 1, "0"), start);
  }
  return out;
}

function readTar(data: Uint8Array): void {
  mergeLayers([
    { name: "layer", entries: readEntries(split(data, [700, 1 << 16]).chunks) } as never,
  ]);
}

const TAR_SPLIT = utf8(
  [
    {
      type: 2,
      payload: Buffer.from(ARCHIVES[0]!.subarray(0, 1024)).toString("base64"),
      position: 0,
    },
    { type: 1, name: "usr/", payload: null, position: 1 },
    { type: 1, name: "usr/large", size: 700, payload: "NCAAAAAAAAA=", position: 2 },
    { type: 1, name_raw: "/w==", size: 1, payload: "NCAAAAAAAAA=", position: 3 },
  ]
    .map((entry) => `${JSON.stringify(entry)}\n`)
    .join(""),
);

// --- splitstreams

/** zstd that leaves all as it is, so that faults get to what is inside. */
const transparent: Zstd = {
  compress: (data) => data,
  decompress(data, limit) {
    if (data.length > limit) throw new Error(`more than ${limit} bytes when decompressed`);
    return data;
  },
  decompressPieces: (data, limit) => [transparent.decompress(data, limit)],
};

function splitstream(through: Zstd): Uint8Array {
  const writer = new SplitstreamWriter("sha256", CONTENT_TYPES["oci-layer"], through);
  writer.inline(ARCHIVES[0]!.subarray(0, 1024));
  writer.external(sha256("a"), 100);
  writer.inline(latin1("between"));
  writer.external(sha256("b"), 1000);
  writer.addNamedRef("config:a", sha256("c"));
  writer.addNamedRef("image", sha256("d"));
  return writer.finish();
}

/** The same with the header of the first releases. */
function withOldHeader(stream: Uint8Array): Uint8Array {
  const out = stream.slice();
  const info = out.slice(16, 32);
  out.copyWithin(18, 0, 12);
  out.set(info, 0);
  out.set([0, 0], 16);
  out.set([1, 12], 30);
  return out;
}

function readSplitstream(through: Zstd) {
  return (data: Uint8Array) => {
    const stream = parseSplitstream(data, "sha256", through);
    stream.namedRefs();
    for (const _ of stream.chunks());
  };
}

const SPLITSTREAM_PLACE = /offset \d+|^not a splitstream/;

// --- trees

const HEX = "ab".repeat(32);
const DUMP = [
  "/ 4096 40755 4 0 0 0 1700000000.5 - - - security.selinux=label\\x00",
  `/file 5000 100644 2 1 2 0 1.0 ab/${HEX.slice(2)} - ${HEX} user.a=b trusted.overlay.x=y`,
  "/inline 5 100600 1 0 0 0 -1.0 - hello -",
  "/dir 4096 40700 2 0 0 0 0.0 - - -",
  "/dir/link 6 120777 1 0 0 0 0.0 target - -",
  "/dir/null 0 20666 1 0 0 259 0.0 - - -",
  "/dir/pipe 0 10666 1 0 0 0 0.0 - - -",
  "/hard 0 @100644 2 0 0 0 0.0 /file - -",
  "/sparse 70000 100644 1 0 0 0 0.0 - - -",
  "/whiteout 0 20000 1 0 0 0 0.0 - - -",
  "",
].join("\n");

const IMAGES = ([0, 1, 2] as const).map((format) =>
  writeErofs(parseDumpfile(utf8(DUMP)).tree, { format }),
);

/** A chain of links, each to the next. */
function linkChain(lines: number): string {
  const links = Array.from(
    { length: lines },
    (_, i) => `/${i} 0 @100644 1 0 0 0 0.0 /${i + 1} - -\n`,
  );
  return `/ 0 40755 2 0 0 0 0.0 - - -\n${links.join("")}/${lines} 0 100644 1 0 0 0 0.0 - - -\n`;
}

/** Directories in directories. */
function nested(depth: number, name: string): Uint8Array {
  const tree = parseDumpfile(utf8("/ 0 40755 2 0 0 0 0.0 - - -\n")).tree;
  let directory = tree;
  for (let i = 0; i < depth; i++) {
    const below = { ...directory, entries: new Map() };
    directory.entries.set(name as never, below);
    directory = below;
  }
  return writeErofs(tree, { format: 1 });
}

// --- documents

const OCI = image([{ tar: Buffer.from(ARCHIVES[1]!), compression: "gzip" }]);
const INDEX = json("application/vnd.oci.image.index.v1+json", {
  schemaVersion: 2,
  manifests: [
    {
      mediaType: OCI.manifest.mediaType,
      digest: DIGEST,
      size: 7,
      platform: { os: "linux", architecture: "arm64", variant: "v8" },
      annotations: { "org.opencontainers.image.ref.name": "a" },
    },
  ],
}).bytes;
const METADATA = utf8(
  JSON.stringify({
    version: 1,
    algorithm: "fsverity-sha256-12",
    features: { compatible: ["a"], "read-only-compatible": ["v1_erofs"], incompatible: [] },
    erofs_formats: { default: 1, extra: [2] },
  }),
);
const POLICY = utf8(
  JSON.stringify({
    default: [{ type: "insecureAcceptAnything" }],
    transports: {
      docker: { "quay.io/a": [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/k" }] },
      "docker-daemon": { "": [{ type: "reject" }] },
    },
  }),
);
const JSON_TOKENS = ["[", '{"a":', "{}", ",", "null", "[[],", '{"manifests":'];
const JSON_PLACE = /^file: /;

const SETUP_ROOT = utf8(
  '[root]\ntransient = false\n[etc]\nmount = "bind"\n[var]\nmount = "overlay"\ntransient = true\n[cfsboot]\nerofs = "auto"\nlayers = "fds"\n',
);
const REGISTRIES = utf8(
  'unqualified-search-registries = ["registry.example/"]\ncredential-helpers = ["x"]\n[[registry]]\nprefix = "*.example.com"\nlocation = "internal.example/team///"\ninsecure = false\n[[registry.mirror]]\nlocation = "mirror.example:5000/team"\npull-from-mirror = "digest-only"\n[aliases]\nname = "registry.example/namespace/name"\n',
);
const STORAGE = utf8(
  '[storage]\ndriver = "overlay"\ngraphroot = "/a"\nimagestore = ""\n[storage.options]\nadditionalimagestores = ["/b", "$HOME/c"]\n',
);
const STORE_LIST = utf8(
  JSON.stringify([
    { id: HEX, names: ["a:1"], "big-data-digests": { manifest: DIGEST }, "diff-digest": DIGEST },
    { id: "a.b_c-d", names: null, "diff-digest": null, uidmap: [{ size: 1 }] },
  ]),
);
const TOML_TOKENS = ["[", "[[a]]\n", "a.", "a = [", '"""', "{a={", "[a.", "a = 1\n", "#", "'"];

// --- archives on disk

const OCI_LAYOUT = tar([
  { path: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
  {
    path: "index.json",
    data: JSON.stringify({ schemaVersion: 2, manifests: [OCI.manifest, OCI.manifest] }),
  },
]);
const DOCKER_ARCHIVE = tar([
  {
    path: "manifest.json",
    data: '[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]',
  },
  { path: "c.json", data: OCI.config.bytes },
  { path: "l/", type: "5" },
  { path: "l/layer.tar", type: "2", link: "../other.tar" },
  { path: "other.tar", data: ARCHIVES[1]! },
]);

const CHUNKED = chunkedLayer(
  [
    { path: "usr/" },
    { path: "usr/a", data: Buffer.concat([Buffer.alloc(300, 1), Buffer.alloc(200)]) },
    { path: "usr/b", data: "b" },
  ],
  { chunkSize: 100 },
);
const CHUNKED_VALUES = Object.values(CHUNKED_ANNOTATIONS)
  .map((name) => CHUNKED.annotations[name] ?? DIGEST)
  .join("\n");

async function drain(source: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of source);
}

/** `scratch` is a directory for what must be a file. */
export function targets(scratch: string): Target[] {
  const file = join(scratch, "archive");
  const source = "docker-archive:archive";
  const store = join(scratch, "store");
  for (const directory of ["overlay-images", "overlay-layers"])
    mkdirSync(join(store, directory), { recursive: true });
  const compressed = (compression: "gzip" | "zstd") => (data: Uint8Array) => {
    const pieces = async function* () {
      for (let at = 0; at < data.length; at += 1000) yield data.subarray(at, at + 1000);
    };
    return drain(decompress(pieces(), compression));
  };
  const erofs = (name: string, read: (data: Uint8Array) => unknown): Target => ({
    name: `EROFS, ${name}`,
    specimens: IMAGES,
    place: /offset \d+/,
    read,
  });
  const oci = (
    name: string,
    specimens: Uint8Array[],
    read: (data: Uint8Array) => unknown,
  ): Target => ({
    name,
    specimens,
    tokens: JSON_TOKENS,
    place: JSON_PLACE,
    read,
  });
  const exhaust = (lines: Iterable<string>) => {
    for (const _ of lines);
  };

  return [
    ...DEPLOYMENT_TARGETS,
    {
      name: "tar",
      specimens: ARCHIVES,
      place: /tar offset \d+|^layer/,
      repair: repairSums,
      read: readTar,
    },
    {
      name: "tar-split",
      specimens: [TAR_SPLIT],
      tokens: ["\n", '{"type":2,"payload":"', "null", "AA==", '"name_raw":"'],
      place: /^line \d+: /,
      read: (data) => {
        const reader = new TarSplitReader();
        for (let at = 0; at < data.length; at += 1000) reader.push(data.subarray(at, at + 1000));
        reader.end();
      },
    },
    {
      name: "zstd:chunked, annotations",
      specimens: [utf8(CHUNKED_VALUES)],
      tokens: ["\n", ":", "0", "99999999", DIGEST],
      place: /^io\.github\.containers\.zstd-chunked\./,
      read: (data) => {
        const values = Buffer.from(data).toString("latin1").split("\n");
        const names = Object.values(CHUNKED_ANNOTATIONS);
        return parseChunkedAnnotations(
          Object.fromEntries(names.map((name, i) => [name, values[i] ?? ""])),
          CHUNKED.blob.length,
        );
      },
    },
    {
      name: "zstd:chunked, table of contents",
      specimens: [utf8(JSON.stringify(CHUNKED.toc))],
      tokens: [...JSON_TOKENS, '"chunk"', '"zeros"', '"offset":', '"chunkOffset":', '"size":', "1"],
      place: /^table of contents: /,
      read: (data) => parseChunkedToc(data, { start: 0, end: CHUNKED.blob.length }),
    },
    {
      name: "splitstream",
      specimens: [splitstream(zstd), withOldHeader(splitstream(zstd))],
      place: SPLITSTREAM_PLACE,
      read: readSplitstream(zstd),
    },
    {
      name: "splitstream, inside of its compressed sections",
      specimens: [splitstream(transparent), withOldHeader(splitstream(transparent))],
      place: SPLITSTREAM_PLACE,
      read: readSplitstream(transparent),
    },
    {
      name: "dump file",
      specimens: [utf8(DUMP)],
      tokens: ["\\x41", "- ", "/a", "a=b ", "/ 0 40755 1 0 0 0 0.0 - - -\n"],
      place: /^line \d+|^no entry for \//,
      read: (data) => formatDumpfile(parseDumpfile(data).tree),
    },
    {
      name: "dump file as C reads it",
      specimens: [utf8(DUMP), utf8(linkChain(10))],
      tokens: ["\\x41", "- ", "/a", "a=b ", "/ 0 40755 1 0 0 0 0.0 - - -\n"],
      place: /^line \d+|^no entry for \//,
      read: parseDumpfileC,
    },
    {
      name: "dump file of links to links",
      specimens: [utf8(linkChain(28_000))],
      place: /^line \d+/,
      rounds: 0,
      read: parseDumpfileC,
    },
    erofs("its tree", readErofs),
    erofs("its objects", erofsObjects),
    erofs("its listing", (data) => exhaust(listLines(data))),
    erofs("its dump", (data) => exhaust(dumpLinesC(data))),
    erofs("its paths", backingPaths),
    {
      name: "EROFS of directories in directories",
      specimens: [nested(2000, "d".repeat(250))],
      place: /offset \d+/,
      rounds: 0,
      read: readErofs,
    },
    oci("manifest", [OCI.manifest.bytes], (data) => parseManifest(data, "file")),
    oci("index", [INDEX], (data) => parseIndex(data, "file")),
    oci("config", [OCI.config.bytes], (data) => parseConfig(data, "file")),
    {
      ...oci("manifest or index", [OCI.manifest.bytes, INDEX], (data) => isIndex(data, undefined)),
      place: /^manifest: /,
    },
    oci("manifest with other layers", [OCI.manifest.bytes], (data) =>
      replaceLayers(data, "file", () => undefined),
    ),
    oci("signature policy", [POLICY], (data) => parsePolicy(data, "file")),
    {
      ...oci("meta.json", [METADATA], (data) => parseMetadata(textOf(data))),
      place: /"\w|^not JSON|^file: not UTF-8|^the file: |^version \d|^needs unknown features/,
    },
    {
      name: "kernel command line",
      specimens: [
        utf8(`root=x composefs=?${HEX} composefs.digest=v1-sha256-12:${HEX} systemd.volatile=yes`),
        utf8(`"composefs=sha512:${HEX}${HEX}" quiet`),
      ],
      tokens: [`composefs=${HEX} `, 'a="', "composefs="],
      place: /kernel argument |^file: not UTF-8/,
      read: (data) => {
        const text = textOf(data);
        parseComposefsArguments(text);
        parseVolatile(text);
      },
    },
    {
      name: "setup-root-conf.toml",
      specimens: [SETUP_ROOT],
      tokens: TOML_TOKENS,
      place: /^file/,
      read: (data) => parseSetupRootConf(textOf(data), "file"),
    },
    {
      name: "registries.conf",
      specimens: [REGISTRIES],
      tokens: TOML_TOKENS,
      place: /^file/,
      read: (data) => parseRegistriesConf(textOf(data), "file"),
    },
    {
      name: "storage.conf",
      specimens: [STORAGE],
      tokens: TOML_TOKENS,
      place: /^file/,
      read: (data) => parseStorageConf(textOf(data), "file"),
    },
    {
      name: "lists of containers' storage",
      specimens: [STORE_LIST],
      tokens: JSON_TOKENS,
      place: new RegExp(`^${store}/overlay-(?:images/images|layers/layers)\\.json`),
      rounds: 500,
      read: (data) => {
        for (const list of ["overlay-images/images.json", "overlay-layers/layers.json"])
          writeFileSync(join(store, list), data);
        const opened = Store.open(linux, store)!;
        try {
          opened.images();
          opened.layers();
        } finally {
          opened.close();
        }
      },
    },
    {
      name: "reference",
      specimens: [
        utf8(`docker://registry.example:5000/a/b_c--d:tag@${DIGEST}`),
        utf8("oci:dir:tag"),
        utf8("docker-archive:file:quay.io/a/b:c"),
        utf8("docker-archive:file:@3"),
        utf8("containers-storage:[overlay@/a+/b:x.imagestore=/c]x:1@abcdef"),
      ],
      tokens: ["docker://", "a/", "a-", "a.", "a--", "_", "@sha256:", "[", "]", "[/a]"],
      place: /^image reference |^file: not UTF-8/,
      read: (data) => parseReference(textOf(data)),
    },
    {
      name: "challenge of a registry",
      specimens: [
        utf8('Bearer realm="https://a/token",service="s",scope="x:y:pull", Basic realm="\\"a"'),
      ],
      tokens: ["a=", 'Bearer a="b",', ", ", '\\"', "a "],
      place: /./,
      read: (data) => parseChallenges(Buffer.from(data).toString("latin1")),
    },
    {
      name: "options of mount",
      specimens: [utf8("basedir=/a\\,b:/c,digest=00,verity,upperdir=/x\\\\")],
      tokens: [",", "a=", "\\,"],
      place: /./,
      read: (data) => {
        for (const { value } of parseMountOptions(Buffer.from(data).toString("latin1"))) {
          if (value !== undefined) splitEscaped(value, ":").map(unescapeValue);
        }
      },
    },
    {
      name: "file_contexts",
      specimens: [
        utf8(
          "# c\n/.*\tsystem_u:object_r:default_t:s0\n/usr/(.*/)?bin(/.*)? -- a:b:c:s0\n/x -d <<none>>\n",
        ),
      ],
      tokens: ["/a b\n", "\u00a0", "# ", " x", "\r"],
      place: /^file:\d+: /,
      read: (data) => parseFileContexts(data, "file"),
    },
    {
      name: "file_contexts.subs",
      specimens: [utf8("/run /var/run\n\n/a /b\n")],
      tokens: ["\u00a0", " x"],
      place: /^file:\d+: /,
      read: (data) => parseSubstitutions(data, "file"),
    },
    {
      name: "SELinux configuration",
      specimens: [utf8("SELINUX=enforcing\nSELINUXTYPE=targeted  \n")],
      tokens: ["\u00a0", "selinuxtype", " x"],
      place: /^file:\d+: /,
      read: (data) => parseSelinuxConfig(data, "file"),
    },
    {
      name: "patterns of file_contexts",
      specimens: [
        utf8("/usr/(.*/)?bin(/.*)?"),
        utf8("/a[^/]*[[:digit:]]{2,5}(?i:b|c)\\.so(\\.[^/]*)*"),
        utf8("/(?:x|y)+?\\d\\x{41}(?=z)(q)\\2"),
      ],
      tokens: ["(", "(?:a", "[a", "a{9}", "(a|", "a*", "(?=", "\\Q", "a|", "[[:alpha:]-"],
      place: /file:7: pattern "|^file: not UTF-8/,
      read: (data) => {
        const regex = textOf(data).slice(0, 1 << 12);
        const context = fromText("a:b:c");
        const labels = new Labels([{ regex, type: undefined, context, place: "file:7" }]);
        const place = labels.entry(labels.root(), fromText(`usr${"a".repeat(200)}/bin`));
        labels.label(place, "-");
      },
    },
    {
      name: "zstd",
      specimens: [zlib.zstdCompressSync(ARCHIVES[0]!), zlib.zstdCompressSync(Buffer.alloc(2000))],
      place: /offset \d+|zstd|data|[Cc]orrupt|frame|unsupported|window|[Cc]hecksum/i,
      read: compressed("zstd"),
      rounds: 200,
    },
    {
      name: "gzip",
      specimens: [zlib.gzipSync(ARCHIVES[0]!)],
      place: /gzip|header|data|block|code|distance|end of file|check|invalid|unknown/,
      read: compressed("gzip"),
      rounds: 200,
    },
    {
      name: "docker-archive",
      specimens: [DOCKER_ARCHIVE],
      place: new RegExp(`^${file}`),
      repair: repairSums,
      rounds: 200,
      read: async (data) => {
        writeFileSync(file, data);
        const reference = { transport: "docker-archive", source, file } as const;
        const transport = await openDockerArchive({
          ...reference,
          name: undefined,
          index: undefined,
        });
        await transport.close();
      },
    },
    {
      name: "oci-archive",
      specimens: [OCI_LAYOUT],
      place: new RegExp(`^${file}`),
      repair: repairSums,
      rounds: 200,
      read: async (data) => {
        writeFileSync(file, data);
        const transport = await openLayoutArchive({
          transport: "oci-archive",
          source: "oci-archive:archive",
          file,
          tag: undefined,
        });
        try {
          await transport.root();
        } finally {
          await transport.close();
        }
      },
    },
  ];
}
