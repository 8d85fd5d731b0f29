/** What a person may change in the document that `status` prints: its `spec`. */
import { type ImageSignature, type OriginImage, TRANSPORTS } from "../formats/origin.ts";
import type { HostStatus } from "./host-status.ts";

export interface HostSpec {
  readonly image: OriginImage | undefined;
  readonly bootOrder: "default" | "rollback";
}

export type SpecChange =
  | { readonly do: "nothing" }
  | { readonly do: "switch"; readonly image: OriginImage }
  | { readonly do: "rollback" };

/** Reads the `spec` of a document. Throws an error that names the field and says what was expected. */
export function parseSpec(document: unknown): HostSpec {
  const spec = table(table(document, "the document").spec, "spec");
  const order = spec.bootOrder ?? "default";
  if (order !== "default" && order !== "rollback") {
    throw new Error("spec.bootOrder: expected default or rollback");
  }
  const image = spec.image ?? undefined;
  return { image: image === undefined ? undefined : parseImage(image), bootOrder: order };
}

function parseImage(value: unknown): OriginImage {
  const image = table(value, "spec.image");
  const name = image.image;
  if (typeof name !== "string" || name === "") throw new Error("spec.image.image: expected a name");
  const transport = TRANSPORTS.find((one) => one === (image.transport ?? "registry"));
  if (transport === undefined) {
    throw new Error(`spec.image.transport: expected one of ${TRANSPORTS.join(", ")}`);
  }
  return { transport, name, signature: parseSignature(image.signature ?? undefined) };
}

function parseSignature(value: unknown): ImageSignature | undefined {
  if (value === undefined || value === "insecure") return undefined;
  if (value === "containerPolicy") return value;
  const { ostreeRemote } = typeof value === "object" ? table(value, "spec.image.signature") : {};
  if (typeof ostreeRemote === "string") return { ostreeRemote };
  throw new Error("spec.image.signature: expected containerPolicy, insecure or ostreeRemote");
}

function table(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${name}: expected an object`);
  }
  return value as Readonly<Record<string, unknown>>;
}

/** The `spec` as it is. */
export function specOf({ spec }: Pick<HostStatus, "spec">): HostSpec {
  return parseSpec({ spec });
}

/** What is to be done for it to be as wished. Throws for two changes at once, and if there would be no image. */
export function changeOfSpec(is: HostSpec, wished: HostSpec): SpecChange {
  const { image, order } = compare(is, wished);
  if (image && order) {
    throw new Error("invalid state transition: change either the image or the boot order");
  }
  if (order) return { do: "rollback" };
  if (!image) return { do: "nothing" };
  if (wished.image === undefined) throw new Error("spec.image: expected an image");
  return { do: "switch", image: wished.image };
}

/** Throws if the `spec` that somebody was shown is not what it is by now. */
export function requireUnchanged(shown: HostSpec, is: HostSpec): void {
  const { image, order } = compare(shown, is);
  if (!image && !order) return;
  const fields = [...(image ? ["spec.image"] : []), ...(order ? ["spec.bootOrder"] : [])];
  throw new Error(`another command has changed ${fields.join(" and ")} meanwhile: nothing is done`);
}

/** Which of the fields differ. */
function compare(a: HostSpec, b: HostSpec): { readonly image: boolean; readonly order: boolean } {
  return {
    image: JSON.stringify(a.image) !== JSON.stringify(b.image),
    order: a.bootOrder !== b.bootOrder,
  };
}
