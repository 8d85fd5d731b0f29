/** `cfsboot image inspect` and `cfsboot image referrers` */
import { type Command, Option } from "commander";
import { display, fromText } from "../../src/formats/bytestring.ts";
import type { Referrer } from "../oci/referrers.ts";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";
import { table } from "./table.ts";

interface InspectFlags {
  readonly repo?: string;
  readonly manifest: boolean;
  readonly config: boolean;
}

interface ReferrersFlags {
  readonly repo?: string;
  readonly json: boolean;
}

/** Adds the commands to `image`. `nameHelp` says what stands for an image. */
export function registerInspect(image: Command, nameHelp: string): void {
  addExamples(
    image
      .command("inspect")
      .description("print an image's documents and digests as JSON")
      .argument("<name>", nameHelp)
      .addOption(repoOption())
      .addOption(
        new Option("--manifest", "print the manifest, as it was received")
          .conflicts("config")
          .default(false),
      )
      .addOption(new Option("--config", "print the config, as it was received").default(false))
      .action(inspect),
    "cfsboot image inspect debian",
    "cfsboot image inspect debian --config | jq .config.Labels",
  );
  addExamples(
    image
      .command("referrers")
      .description("list what says something about an image: signatures, attestations")
      .argument("<name>", nameHelp)
      .addOption(repoOption())
      .option("--json", "print JSON, with annotations", false)
      .action(referrers),
    "cfsboot image referrers debian",
  );
}

async function inspect(name: string, flags: InspectFlags): Promise<void> {
  const { inspectImage, openImageWithManifest } = await import("../oci/inspect.ts");
  using repository = await openRepositoryAt(flags.repo);
  const image = openImageWithManifest(repository, name);
  if (flags.manifest || flags.config) {
    process.stdout.write((flags.manifest ? image.manifest : image.config).bytes);
    process.stdout.write("\n");
    return;
  }
  process.stdout.write(`${JSON.stringify(inspectImage(repository, image), null, 2)}\n`);
}

async function referrers(name: string, flags: ReferrersFlags): Promise<void> {
  const { openImageWithManifest } = await import("../oci/inspect.ts");
  const { describeReferrers } = await import("../oci/referrers.ts");
  using repository = await openRepositoryAt(flags.repo);
  const { manifest } = openImageWithManifest(repository, name);
  const list = describeReferrers(repository, manifest.digest, (error) => {
    process.stderr.write(`cfsboot: warning: ${describeError(error).message}\n`);
  });
  process.stdout.write(flags.json ? `${JSON.stringify(list, null, 2)}\n` : toText(list));
}

function toText(list: readonly Referrer[]): string {
  const type = ({ artifactType }: Referrer) => display(fromText(artifactType));
  return table([["DIGEST", "TYPE"], ...list.map((one) => [one.digest, type(one)])]);
}
