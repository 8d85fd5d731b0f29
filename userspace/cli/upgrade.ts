/** `cfsboot upgrade` */
import type { Command } from "commander";
import type { OriginImage } from "../../src/formats/origin.ts";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { type OpenMachine, rebootAfter, withMachine } from "./machine.ts";
import { Report } from "./report.ts";
import { type StagingFlags, stagingOptions } from "./staging-options.ts";

interface Flags extends StagingFlags {
  readonly check: boolean;
  readonly fromDownloaded: boolean;
  readonly tag?: string;
}

export function register(program: Command): void {
  const command = program
    .command("upgrade")
    .alias("update")
    .description("fetch what the image that the machine follows has become, and stage it")
    .option("--check", "only tell whether there is something new; changes nothing", false)
    .option("--from-downloaded", "unlock what --download-only has staged; fetches nothing", false)
    .option("--tag <tag>", "follow another tag of the same image from now on")
    .action(upgrade);
  stagingOptions(command);
  addExamples(
    command,
    "cfsboot upgrade --check --json",
    "cfsboot upgrade --json",
    "cfsboot upgrade --apply",
    "cfsboot upgrade --download-only",
    "cfsboot upgrade --from-downloaded --apply",
  );
}

/** Which of them cannot be together. */
const CONFLICTS: readonly (readonly [keyof Flags, string, ...(keyof Flags)[]])[] = [
  ["check", "--check", "apply", "downloadOnly", "fromDownloaded"],
  ["downloadOnly", "--download-only", "apply", "fromDownloaded"],
];

async function upgrade(flags: Flags): Promise<void> {
  for (const [one, name, ...others] of CONFLICTS) {
    if (flags[one] !== true) continue;
    const other = others.find((key) => flags[key] === true);
    if (other !== undefined) throw new UsageError(`${name} cannot be with ${optionName(other)}`);
  }
  if (flags.fromDownloaded && flags.tag !== undefined) {
    throw new UsageError("--from-downloaded cannot be with --tag: nothing is fetched");
  }
  const apply = rebootAfter(flags);
  const { followedImage, decideFromDownloaded, decideUpgrade } = await import(
    "../../src/model/upgrade-decision.ts"
  );
  const { HintedError } = await import("../../src/linux/hint.ts");
  const { withTag } = await import("../deployment/references.ts");
  const { originTrouble } = await import("../deployment/lost-origins.ts");
  const { follow } = await import("./staging.ts");
  const { mend } = await import("./mend.ts");
  const { carryOut } = await import("./staging-decision.ts");
  const purpose = flags.check || flags.dryRun ? "look" : "change";
  await withMachine(flags, purpose, async (open) => {
    const report = new Report(flags);
    const machine = mend(open, flags.check ? "check" : flags.dryRun ? "tell" : "write", report);
    const current = followedImage(machine);
    if (current === undefined) {
      const { booted } = machine;
      throw new HintedError(
        "the machine follows no image",
        "cfsboot switch REFERENCE writes down which, also if that is the image that runs",
        booted && { cause: originTrouble(open.host, booted) },
      );
    }
    if (flags.fromDownloaded) {
      const decision = decideFromDownloaded(machine);
      const ending = carryOut(open, machine, decision, { follow: current }, flags, report);
      return report.end(ending, apply);
    }
    const image = flags.tag === undefined ? current : withTag(current, flags.tag);
    if (flags.check) return check(open, machine, image, flags);
    const { downloadOnly } = flags;
    const wish = {
      source: image,
      follow: image,
      decide: (now: Machine, twin: Deployment | undefined) =>
        decideUpgrade(now, twin, { downloadOnly }),
    };
    return report.end(await follow(open, machine, wish, flags, report), apply);
  });
}

function optionName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

async function check(
  open: OpenMachine,
  machine: Machine,
  image: OriginImage,
  flags: Flags,
): Promise<void> {
  const { decideUpgrade, deploymentOf, followedDeployment } = await import(
    "../../src/model/upgrade-decision.ts"
  );
  const { contentsOf, downloadOf } = await import("../deployment/upgrade.ts");
  const { sourceOf } = await import("../deployment/references.ts");
  const { withRemote } = await import("./staging.ts");
  const { concerned } = await import("./concerned.ts");
  const { remoteImageStatus } = await import("./staging-steps.ts");
  const { megabytes } = await import("../../src/model/size-text.ts");
  await withRemote(image, flags, async (remote) => {
    const twin = deploymentOf(machine, remote, contentsOf(open.repository, machine));
    const decision = decideUpgrade(machine, twin, { downloadOnly: true });
    const { manifestDigest } = remote;
    const { version, timestamp } = remoteImageStatus(remote, image);
    const { layers, all, bytes } = downloadOf(open.repository, remote);
    if (flags.json) {
      const from = followedDeployment(machine);
      const fromOf = (one: Deployment) => {
        const [{ image: now } = { image: null }] = concerned(open, one);
        return {
          ...{ deployment: one.id, digest: now?.imageDigest ?? null },
          ...{ version: now?.version ?? null, timestamp: now?.timestamp ?? null },
        };
      };
      const document = {
        available: decision.do === "stage",
        image: sourceOf(image),
        digest: manifestDigest,
        ...{ version, timestamp },
        deployment: twin?.id ?? null,
        layers: { missing: layers, all, bytes },
        from: from === undefined ? null : fromOf(from),
      };
      process.stdout.write(`${JSON.stringify(document)}\n`);
      return;
    }
    const lines =
      decision.do === "nothing"
        ? [`No changes in ${sourceOf(image)}: ${decision.why}`]
        : [
            `Update available for: ${sourceOf(image)}`,
            ...(version === null ? [] : [`  Version: ${version}`]),
            `  Digest: ${manifestDigest}`,
            `  To be fetched: ${layers} of ${all} layers, ${megabytes(bytes)}`,
          ];
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  });
}
