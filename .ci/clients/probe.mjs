// What an application with the AWS SDK for JavaScript v3 does in a pod: one action, one line of JSON.
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

async function identity({ endpoint }) {
  const answer = await new STSClient({ endpoint }).send(new GetCallerIdentityCommand({}));
  return { arn: answer.Arn };
}

async function presign({ bucket, key }) {
  const url = await getSignedUrl(new S3Client({}), new GetObjectCommand({ Bucket: bucket, Key: key }), { expiresIn: 600 });
  const answer = await fetch(url);
  return { url, status: answer.status, body: await answer.text() };
}

async function useS3({ bucket, region }) {
  const s3 = new S3Client({ region });
  await s3.send(new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: region } }));
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "a b+é", Body: "hello" }));
  const answer = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: "a b+é" }));
  return { body: await answer.Body.transformToString(), type: answer.ContentType };
}

const actions = { identity, presign, "use-s3": useS3 };
let result;
try {
  result = await actions[process.argv[2]](JSON.parse(process.argv[3] ?? "{}"));
} catch (error) {
  result = { error: error.name, text: error.message };
}
console.log(JSON.stringify(result));
