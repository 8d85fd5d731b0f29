/** `cfsboot image` */
import { type Command, InvalidArgumentError, Option } from "commander";
import { display, fromText } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import type { ImageSummary } from "../oci/list.ts";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { registerCopy } from "./image-copy.ts";
import { registerInspect } from "./image-inspect.ts";
import { registerNames } from "./image-names.ts";
import { addMount } from "./mount.ts";
import { registerPull } from "./pull.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";
import { table } from "./table.ts";

interface ListFlags {
  readonly repo?: string;
  readonly json: boolean;
}

interface TreeFlags {
  readonly repo?: string;
  readonly bootable: boolean;
  readonly xattrs: XattrMode;
}

interface DigestFlags extends TreeFlags {
  readonly erofsFormat?: ErofsFormat;
}

const NAME = "tag, or @sha256:… of the manifest or config";

export function register(program: Command): void {
  const image = program.command("image").description("container images in the repository");
  registerPull(image);
  addExamples(
    image
      .command("list")
      .description("list the images that have a name")
      .addOption(repoOption())
      .option("--json", "print JSON", false)
      .action(list),
    "cfsboot image list",
  );
  registerInspect(image, NAME);
  registerNames(image, NAME);
  registerCopy(image, NAME);
  addMount(image, "cfsboot image");
  addExamples(
    treeOptions(
      image
        .command("digest")
        .description("compute the fs-verity digest of an image's filesystem; nothing is stored")
        .argument("<name>", NAME),
    )
      .addOption(
        new Option(
          "--erofs-format <number>",
          "format: 0, 1 or 2 (default: the repository's)",
        ).argParser(parseFormat),
      )
      .action(digest),
    "cfsboot image digest debian",
    "cfsboot image digest --bootable debian",
  );
  addExamples(
    treeOptions(
      image
        .command("dump")
        .description("print an image's filesystem as a dump file")
        .argument("<name>", NAME),
    ).action(dump),
    "cfsboot image dump debian",
  );
}

function treeOptions(command: Command): Command {
  return command
    .addOption(repoOption())
    .option("--bootable", "as a machine boots it: with SELinux labels, without /boot", false)
    .addOption(
      new Option("--xattrs <mode>", "which extended attributes the image keeps")
        .choices(["allowlist-only", "keep-user-xattrs"])
        .default("allowlist-only"),
    );
}

async function list(flags: ListFlags): Promise<void> {
  const { listImages } = await import("../oci/list.ts");
  using repository = await openRepositoryAt(flags.repo);
  const images = listImages(repository, (error) => {
    process.stderr.write(`cfsboot: warning: ${describeError(error).message}\n`);
  });
  process.stdout.write(flags.json ? imageJson(images) : imageTable(images));
}

/** The document that `cfsctl oci images --json` prints. */
function imageJson(images: readonly ImageSummary[]): string {
  const document = images.map((image) => ({
    name: image.name,
    manifest_digest: image.manifestDigest,
    is_container: image.isContainer,
    architecture: image.architecture,
    os: image.os,
    created: image.created,
    layer_count: image.layerCount,
    referrer_count: image.referrerCount,
  }));
  return `${JSON.stringify({ images: document }, null, 2)}\n`;
}

/** `sha256:` and as many digits as tell images apart. */
const SHORT_DIGEST = "sha256:".length + 12;

function imageTable(images: readonly ImageSummary[]): string {
  return table([
    ["NAME", "DIGEST", "ARCH", "LAYERS", "REFS"],
    ...images.map((image) => [
      display(fromText(image.name)),
      image.manifestDigest.slice(0, SHORT_DIGEST),
      image.isContainer ? image.architecture : "artifact",
      String(image.layerCount),
      String(image.referrerCount),
    ]),
  ]);
}

async function digest(name: string, flags: DigestFlags): Promise<void> {
  const { openImage } = await import("../oci/image.ts");
  const { imageDigest } = await import("../oci/commit.ts");
  using repository = await openRepositoryAt(flags.repo);
  const format = flags.erofsFormat ?? repository.formats[0]!;
  const image = openImage(repository, name);
  process.stdout.write(`${toHex(imageDigest(repository, image, format, flags))}\n`);
}

async function dump(name: string, flags: TreeFlags): Promise<void> {
  const { openImage } = await import("../oci/image.ts");
  const { imageTree } = await import("../oci/commit.ts");
  const { formatDumpfile } = await import("../../src/formats/dumpfile-writer.ts");
  using repository = await openRepositoryAt(flags.repo);
  const tree = imageTree(repository, openImage(repository, name), flags);
  process.stdout.write(formatDumpfile(tree), "latin1");
}

function parseFormat(text: string): ErofsFormat {
  if (text === "0" || text === "1" || text === "2") return Number(text) as ErofsFormat;
  throw new InvalidArgumentError("0, 1 or 2 expected.");
}
