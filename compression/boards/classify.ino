// Classifies the built-in test image again and again, and prints its class and how long that took.
// Needs the library TensorFlowLite: see README.md.

#include <TensorFlowLite.h>

#include "model.h"
#include "network.h"
#include "test_image.h"

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {
alignas(16) uint8_t arena[kArenaBytes];
Resolver resolver;
tflite::MicroInterpreter* interpreter = nullptr;
}  // namespace

void stop(const char* reason) {
  for (;;) {
    Serial.println(reason);
    delay(5000);
  }
}

void setup() {
  Serial.begin(115200);
  for (int waited = 0; !Serial && waited < 5000; waited += 10) delay(10);
  const tflite::Model* model = tflite::GetModel(kModel);
  if (model->version() != kSchemaVersion) stop("The model is of another version of the format.");
  if (AddKernels(resolver) != kTfLiteOk) stop("A kernel is missing in the library.");
  static tflite::MicroInterpreter made(model, resolver, arena, kArenaBytes);
  interpreter = &made;
  if (interpreter->AllocateTensors() != kTfLiteOk) stop("The arena is too small: raise kArenaBytes.");
  Serial.print("Arena, bytes taken: ");
  Serial.println(static_cast<unsigned long>(interpreter->arena_used_bytes()));
}

void loop() {
  FillInput(kTestImage, interpreter->input(0)->data.int8);
  const unsigned long begin = micros();
  const TfLiteStatus status = interpreter->Invoke();
  const unsigned long took = micros() - begin;
  if (status != kTfLiteOk) stop("The network did not run.");
  const ScoreCode* scores = static_cast<const ScoreCode*>(interpreter->output(0)->data.data);
  const int found = BestClass(scores);
  Serial.print("Class ");
  Serial.print(found);
  Serial.print(" (");
  Serial.print(kClassNames[found]);
  Serial.print("), score ");
  Serial.print(Score(scores[found]), 3);
  Serial.print(found == kExpectedClass ? ", as expected, " : ", NOT as on the computer, ");
  Serial.print(took);
  Serial.println(" us");
  delay(1000);
}
