// An Azure Functions custom handler: a queue message in, a JWS (RFC 7515) signed by Key Vault out.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

func main() {
	log.SetOutput(os.Stdout)
	log.SetFlags(0)
	signer, err := newSigner(os.Getenv("SIGNET_KEY"), os.Getenv("SIGNET_RESULTS"))
	if err != nil {
		log.Fatal(err)
	}
	go signer.warmUp(context.Background())

	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("POST /sign", signer.invoke)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), mux))
}

// signer signs work items with one version of the vault's key.
type signer struct {
	keys    *azkeys.Client
	results *container.Client
	name    string
	asked   string // the version that the setting names, if it does

	ready   chan struct{} // closed once what follows is known
	kid     string
	version string
	failure error
}

type invocation struct {
	Data struct {
		Message []byte `json:"message"`
	}
}

type workItem struct {
	ID      string          `json:"id"`
	Payload json.RawMessage `json:"payload"`
}

type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Cty string `json:"cty"`
	Iat int64  `json:"iat"`
}

type jws struct {
	Payload   string `json:"payload"`
	Protected string `json:"protected"`
	Signature string `json:"signature"`
}

func newSigner(key, results string) (*signer, error) {
	at, err := url.Parse(key)
	if err != nil {
		return nil, err
	}
	// The host sends sixteen items at once; net/http keeps two idle connections to a service unless it is told otherwise.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	options := policy.ClientOptions{Transport: &http.Client{Transport: transport}}

	credential, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		return nil, err
	}
	keys, err := azkeys.NewClient(at.Scheme+"://"+at.Host, credential, &azkeys.ClientOptions{
		ClientOptions: options,
		// A vault behind another name, on this machine: its challenge does not name the host that was asked.
		DisableChallengeResourceVerification: at.Hostname() == "localhost",
	})
	if err != nil {
		return nil, err
	}
	blobs, err := container.NewClient(results, credential, &container.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	id := azkeys.ID(key)
	return &signer{keys: keys, results: blobs, name: id.Name(), asked: id.Version(), ready: make(chan struct{})}, nil
}

// warmUp pins the key's version, and opens the connections before the first item needs them.
func (s *signer) warmUp(ctx context.Context) {
	defer close(s.ready)
	opened := make(chan error, 1)
	go func() {
		_, err := s.results.GetProperties(ctx, nil)
		opened <- err
	}()
	key, err := s.keys.GetKey(ctx, s.name, s.asked, nil)
	if s.failure = errors.Join(err, <-opened); s.failure != nil {
		log.Println("warm-up:", s.failure)
		return
	}
	s.kid, s.version = string(*key.Key.KID), key.Key.KID.Version()
}

func (s *signer) invoke(w http.ResponseWriter, r *http.Request) {
	name, err := s.sign(r)
	if err != nil {
		log.Println(err)
		failure := map[string]string{"code": "failed", "message": err.Error()}
		answer(w, http.StatusServiceUnavailable, map[string]any{"error": failure})
		return
	}
	log.Println("signed", name)
	answer(w, http.StatusOK, struct{}{})
}

// sign signs the item's payload and creates its result, whose name it returns.
func (s *signer) sign(r *http.Request) (string, error) {
	var call invocation
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		return "", err
	}
	var item workItem
	if err := json.Unmarshal(call.Data.Message, &item); err != nil {
		return "", err
	}
	if <-s.ready; s.failure != nil {
		return "", s.failure
	}
	protected, err := json.Marshal(header{"ES256", s.kid, "application/json", time.Now().Unix()})
	if err != nil {
		return "", err
	}
	result := jws{Payload: base64url(item.Payload), Protected: base64url(protected)}
	digest := sha256.Sum256([]byte(result.Protected + "." + result.Payload))
	parameters := azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Value: digest[:]}
	signed, err := s.keys.Sign(r.Context(), s.name, s.version, parameters, nil)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	result.Signature = base64url(signed.Result)
	document, err := json.Marshal(result)
	if err != nil {
		return "", err
	}
	name := item.ID + ".jws.json"
	content := sha256.Sum256(item.Payload)
	_, err = s.results.NewBlockBlobClient(name).Upload(r.Context(), streaming.NopCloser(bytes.NewReader(document)),
		&blockblob.UploadOptions{
			AccessConditions: &blob.AccessConditions{
				ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)},
			},
			HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("application/jose+json")},
			Metadata: map[string]*string{
				"signet_sha256":     to.Ptr(hex.EncodeToString(content[:])),
				"signet_kid":        &s.kid,
				"signet_alg":        to.Ptr("ES256"),
				"signet_version":    to.Ptr("1.0.0"),
				"signet_invocation": to.Ptr(r.Header.Get("X-Azure-Functions-InvocationId")),
			},
		})
	// Where it came again, the first result stands.
	if err != nil && !bloberror.HasCode(err, bloberror.BlobAlreadyExists) {
		return "", fmt.Errorf("upload: %w", err)
	}
	return name, nil
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Println(err)
	}
}

func base64url(data []byte) string {
	return base64.RawURLEncoding.EncodeToString(data)
}
