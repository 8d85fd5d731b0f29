/**
 * Signatures of PE images: where they are, and what of an image they are made over. The same bytes are hashed when firmware
 * measures an image into the TPM.
 *
 * Specification: "Windows Authenticode Portable Executable Signature Format" of Microsoft (Calculating the PE Image Hash); the
 * UEFI specification's "WIN_CERTIFICATE".
 */
import { type ByteRange, lengthOf, readRange } from "./byte-source.ts";
import { display } from "./bytestring.ts";
import { u16, u32 } from "./erofs/fields.ts";
import { type PeImage, peError } from "./pe.ts";

/** What is hashed of an image. */
export interface AuthenticodeInput {
  /** In this order. */
  readonly ranges: readonly ByteRange[];
  /**
   * How many zeros come behind that when the image is signed, since what signs it pads it by them first. Firmware that only
   * measures an image that is not signed hashes it as it is, without them.
   */
  readonly padding: number;
}

/** An entry of the attribute certificate table. */
export interface PeCertificate {
  /** In bytes from the start of the file. */
  readonly offset: number;
  readonly revision: number;
  /** One of `CERTIFICATE_TYPE`, or another. */
  readonly type: number;
  /** What is in it. Of a PKCS #7 signature, zeros may follow it. */
  readonly content: ByteRange;
}

/** `wCertificateType` */
export const CERTIFICATE_TYPE = { pkcsSignedData: 0x0002, efiPkcs115: 0x0ef0, efiGuid: 0x0ef1 };

/** `WIN_CERTIFICATE`; the length is with itself. */
const CERTIFICATE = { length: u32(0), revision: u16(4), type: u16(6) };
const CERTIFICATE_HEADER = 8;
const ALIGNMENT = 8;
/** Images have one signature or two. */
const MAX_CERTIFICATES = 100;

/**
 * What is hashed: the headers but for the checksum and the place of the certificates, the sections in the order in which they
 * are in the file, then what else there is, up to the certificates. Every byte of the file counts once; but where there are
 * gaps between sections, the format has it that these do not, and as many bytes before the certificates do twice.
 *
 * Throws where firmware would not get that far, or where not all would be hashed: sections that lie on one another or on the
 * headers, certificates that are not the end of the file.
 */
export function authenticodeInput(image: PeImage): AuthenticodeInput {
  const { sizeOfHeaders, certificates, fields, source } = image;
  const end = certificates?.start ?? source.size;
  if (certificates !== undefined && certificates.end !== source.size) {
    const found = `certificates end at ${certificates.end}`;
    throw peError(certificates.start, `${found}; expected the end of the file, ${source.size}`);
  }
  const ranges: ByteRange[] = [];
  let at = 0;
  const hole = (range: ByteRange | undefined) => {
    if (range === undefined) return;
    ranges.push({ start: at, end: range.start });
    at = range.end;
  };
  hole(fields.checkSum);
  hole(fields.certificateDirectory);
  ranges.push({ start: at, end: sizeOfHeaders });
  let last = sizeOfHeaders;
  let hashed = sizeOfHeaders;
  const sections = image.sections.filter(({ raw }) => lengthOf(raw) > 0);
  for (const { name, offset, raw } of sections.sort((a, b) => a.raw.start - b.raw.start)) {
    if (raw.start < last || raw.end > end) {
      const found = `the data of section "${display(name)}" at ${raw.start} to ${raw.end}`;
      throw peError(offset, `${found}; expected it in ${last} to ${end}, which nothing else has`);
    }
    ranges.push(raw);
    last = raw.end;
    hashed += lengthOf(raw);
  }
  if (end < hashed) {
    throw peError(end, `certificates in the headers; expected them behind ${sizeOfHeaders}`);
  }
  ranges.push({ start: hashed, end });
  return {
    ranges: ranges.filter((range) => lengthOf(range) > 0),
    padding: certificates === undefined ? -source.size & (ALIGNMENT - 1) : 0,
  };
}

/** The entries of the certificate table; none if it is not signed. Throws, naming an offset, where the table is damaged. */
export function readCertificates(image: PeImage): PeCertificate[] {
  if (image.certificates === undefined) return [];
  const { start, end } = image.certificates;
  const found: PeCertificate[] = [];
  for (let at = start; at < end; ) {
    if (end - at < CERTIFICATE_HEADER) {
      throw peError(at, `${end - at} bytes behind the certificates; expected another or nothing`);
    }
    if (found.length === MAX_CERTIFICATES) {
      throw peError(at, `another certificate; expected at most ${MAX_CERTIFICATES}`);
    }
    const bytes = readRange(image.source, { start: at, end: at + CERTIFICATE_HEADER });
    const view = new DataView(bytes.buffer, bytes.byteOffset, CERTIFICATE_HEADER);
    const length = CERTIFICATE.length.get(view, 0);
    if (length < CERTIFICATE_HEADER || length > end - at) {
      const wanted = `${CERTIFICATE_HEADER} to ${end - at}`;
      throw peError(at, `a certificate of ${length} bytes; expected ${wanted}`);
    }
    found.push({
      offset: at,
      revision: CERTIFICATE.revision.get(view, 0),
      type: CERTIFICATE.type.get(view, 0),
      content: { start: at + CERTIFICATE_HEADER, end: at + length },
    });
    // the last one may be without its padding
    at += length + (-length & (ALIGNMENT - 1));
  }
  return found;
}
